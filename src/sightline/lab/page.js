(() => {
  const key = "sightline-report-language";
  const inputs = { en: document.getElementById("in-en"), "zh-CN": document.getElementById("in-zh") };
  let kept = null;
  try { kept = localStorage.getItem(key); } catch { /* a page opened from a disk may not be allowed to keep anything */ }
  const asked = { "#en": "en", "#zh": "zh-CN" }[location.hash];
  const wanted = asked ?? kept ?? (navigator.language.startsWith("zh") ? "zh-CN" : "en");
  const show = (language) => { document.documentElement.lang = language; };
  (inputs[wanted] ?? inputs.en).checked = true;
  show(inputs[wanted] ? wanted : "en");
  for (const [language, input] of Object.entries(inputs)) {
    input.addEventListener("change", () => {
      show(language);
      try { localStorage.setItem(key, language); } catch { /* see above */ }
    });
  }
})();
