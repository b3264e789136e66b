"use strict";
// One case in NiiVue: its volumes come as a script, since a page of files may fetch nothing.

async function marginaliaNiivue(volumes) {
  const shown = new niivue.Niivue({ backColor: [0, 0, 0, 1], isOrientCube: true, isRadiologicalConvention: true, multiplanarShowRender: niivue.SHOW_RENDER?.ALWAYS ?? 1 });
  await shown.attachTo("gl");
  for (const { name, base64, window, colormap } of volumes) {
    const volume = await niivue.NVImage.loadFromBase64({ name, base64 });
    if (window) [volume.cal_min, volume.cal_max] = window;
    if (colormap) volume.setColormapLabel(colormap);
    if (colormap) volume.opacity = 0.5;
    shown.addVolume(volume);
    for (const [n, label] of (colormap?.labels ?? []).entries()) {
      if (!n || document.getElementById(`label-${n}`)) continue;
      const line = document.createElement("span");
      Object.assign(line, { id: `label-${n}`, textContent: label.replaceAll("_", " ") });
      line.style.color = `rgb(${colormap.R[n]}, ${colormap.G[n]}, ${colormap.B[n]})`;
      document.getElementById("names").append(line);
    }
  }
  shown.setMultiplanarLayout?.(2);
  shown.updateGLVolume();
  document.body.dataset.volumes = shown.volumes.length;
}

const key = location.search.slice(1);
if (/^[0-9a-f]{16}$/.test(key)) {
  const script = document.createElement("script");
  script.src = `${key}.js`;
  document.head.append(script);
}
