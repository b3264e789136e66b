"""Lists on the command line: `1 2 3`, `1,2,3` and `1, 2, 3` are the same list."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ListForm:
    """How one option takes a list.

    Attributes:
        count: How many items it has, all in one go; None repeats the option before each item.
        numbers: Words that follow belong to the list if they are numbers.
        joined: The items stay in one word, with commas between them, as in `KEY=1,2,3`.
        optional: The option has one word, which may be left out; it is the first of `words` then.
        words: What an optional word may be; any that is no option if there are none.
    """

    count: int | None = None
    numbers: bool = False
    joined: bool = False
    optional: bool = False
    words: tuple[str, ...] = ()

    def is_left_out(self, following: str | None) -> bool:
        """Return whether an optional word is left out, by the word that stands there."""
        if following is None or following.startswith("-"):
            return True
        return bool(self.words) and following not in self.words


def spell_lists(words: Sequence[str], forms: Mapping[str, ListForm]) -> list[str]:
    """Return the words of a command with each list as the parser of options wants it.

    Args:
        words: As typed, without the command's name.
        forms: By option, as in `--spacing`.

    Raises:
        ValueError: A list has another number of items than its option takes.
    """
    rest, spelled = deque(words), list[str]()
    while rest:
        word = rest.popleft()
        option, equals, value = word.partition("=")
        if word == "--":
            return [*spelled, word, *rest]
        form = forms.get(option)
        if form and form.optional:
            left_out = not equals and form.is_left_out(rest[0] if rest else None)
            spelled += [option, next(iter(form.words), "")] if left_out else [word]
            continue
        if form is None or not (equals or rest):
            spelled.append(word)
            continue
        items = _items(value if equals else rest.popleft(), rest, form)
        spelled += _spelled(option, items, form)
    return spelled


def split_list(text: str) -> list[str]:
    """Return the items between commas or spaces."""
    return text.replace(",", " ").split()


def _items(first: str, rest: deque[str], form: ListForm) -> list[str]:
    """Take the items of a list: in its first word, and in those of `rest` that belong to it."""
    taken = [first]

    def more() -> bool:
        if taken[-1].endswith(",") and not form.joined:
            return True
        full = form.count is not None and len(split_list(" ".join(taken))) >= form.count
        return form.numbers and not full and _is_number(rest[0].rstrip(","))

    while rest and more():
        taken.append(rest.popleft())
    if form.joined:
        return taken
    text = " ".join(taken)
    if form.numbers:
        return split_list(text)
    return [item.strip() for item in text.split(",") if item.strip()]  # a name may have spaces


def _spelled(option: str, items: Sequence[str], form: ListForm) -> list[str]:
    if form.joined:
        return [option, ",".join(item.strip(",") if len(items) > 1 else item for item in items)]
    if form.count is None:
        return [word for item in items for word in (option, item)]
    if len(items) != form.count:
        example = ["3"] * form.count
        msg = (
            f"expected {form.count} numbers, as in {option} {' '.join(example)} or {option} "
            f"{','.join(example)}; got {' '.join(items) or 'none'}"
        )
        raise ValueError(msg)
    return [option, *items]


def _is_number(word: str) -> bool:
    try:
        return all(isinstance(float(part), float) for part in word.split(","))
    except ValueError:
        return False
