"""Published datasets on disk: unpacked, located, and the labelled cases that they hold."""
