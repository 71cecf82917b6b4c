// The console's one script. Every page works without it; with it, uploads can be dropped and runs are watched live.
"use strict";

function all(selector, work) {
  document.querySelectorAll(selector).forEach(work);
}

// A form that takes long shows that it is busy, and is not sent twice.
all("form[data-busy]", (form) => {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button[type=submit]");
    if (button) {
      button.disabled = true;
      button.textContent = form.dataset.busy;
    }
  });
});

// When the user comes back from another page, browsers may show the form in its busy state.
window.addEventListener("pageshow", (event) => {
  if (event.persisted && document.querySelector("form[data-busy], form[data-drop]")) {
    location.reload();
  }
});

// A preview: entering a number chooses the trial, and the button says how many accounts it changes.
all("form[data-trial]", (form) => {
  const number = form.elements.first;
  const words = form.querySelector(".for-trial");
  const effect = words.dataset;
  const otherwise = words.textContent;

  function show() {
    const count = Math.min(Number(number.value), Number(effect.total));
    words.textContent = Number.isInteger(count) && count > 0
      ? `${effect.verb} ${count.toLocaleString("en")} ${count === 1 ? effect.one : effect.many}`
      : otherwise;
  }

  number.addEventListener("input", () => {
    form.elements.scope.value = "first";
    show();
  });
  form.addEventListener("change", () => {
    if (form.elements.scope.value === "all") {
      number.value = number.dataset.suggested;
    }
    show();
  });
  show();
});

all("form[data-confirm]", (form) => {
  form.addEventListener("submit", (event) => {
    if (!window.confirm(form.dataset.confirm)) {
      event.preventDefault();
    }
  });
});

// A button shows the password of its field; the field is hidden again before the form is sent.
all("[data-show-password]", (button) => {
  const field = button.parentElement.querySelector("input");

  function show(shown) {
    field.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  }

  button.hidden = false;
  button.addEventListener("click", () => show(field.type === "password"));
  button.form.addEventListener("submit", () => show(false));
});

// The meter tells the length of a new password, and what the console is sure to refuse. It calls no password strong: the
// console finds common ones only when the form is sent. The rules are those of bulkid/web/auth/passwords.py.
all("[data-password-meter]", (box) => {
  const field = box.closest("form").elements[box.dataset.passwordMeter];
  const rules = JSON.parse(box.dataset.rules);
  const [bar, words] = box.children;

  function lowered(text) {
    const folded = text.normalize("NFD").toLowerCase().normalize("NFKC");
    return folded.split(/\s+/).filter(Boolean).join(" ");
  }

  function isRelated(letters) {
    const key = lowered(letters.slice(0, rules.read).join(""));
    const other = rules.words.reduce((text, word) => text.replaceAll(word, " "), key);
    return other !== key && (other.match(/[\p{L}\p{N}]/gu) || []).length < rules.unrelated;
  }

  function verdict(letters) {
    if (letters.length === 0) {
      return "";
    }
    if (letters.length < rules.min) {
      return `Too short: a password has at least ${rules.min} characters.`;
    }
    if (letters.length > rules.max) {
      return `Too long: a password has at most ${rules.max} characters.`;
    }
    if (isRelated(letters)) {
      return 'Too close to the user name or to "bulkid".';
    }
    if (/^(.{1,4})\1+$/su.test(letters.slice(0, rules.read).join(""))) {
      return "Easy to guess: it repeats itself.";
    }
    return "Long enough. The console refuses a common password when the form is sent.";
  }

  function show() {
    const letters = [...field.value];
    const found = verdict(letters);
    bar.value = letters.length;
    if (words.textContent !== found) {
      words.textContent = found;
    }
  }

  box.hidden = false;
  field.setAttribute("aria-describedby", words.id);
  field.addEventListener("input", show);
  show();
});

// Uploading: drag and drop, and a message before a file is sent that is too large.
all("form[data-drop]", (form) => {
  const input = form.querySelector("input[type=file]");
  const error = form.querySelector("[data-drop-error]");
  all("[data-script-only]", (each) => { each.hidden = false; });

  function fits() {
    const file = input.files[0];
    const most = Number(input.dataset.maxBytes);
    const large = Boolean(file) && file.size > most;
    error.hidden = !large;
    error.textContent = large
      ? `${file.name} has ${Math.ceil(file.size / 1048576)} MB; the limit is ${most / 1048576} MB.`
      : "";
    return Boolean(file) && !large;
  }

  input.addEventListener("change", fits);
  form.addEventListener("submit", (event) => {
    if (!fits()) {
      event.preventDefault();
      return;
    }
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    button.textContent = "Uploading and reading ...";
  });
  ["dragenter", "dragover"].forEach((name) => form.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.add("over");
  }));
  ["dragleave", "drop"].forEach((name) => form.addEventListener(name, () => form.classList.remove("over")));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      if (fits()) {
        form.requestSubmit();
      }
    }
  });
});

const grouped = new Intl.NumberFormat("en");

function percentOf(state) {
  return Math.floor((100 * state.done) / (state.total || 1));
}

// Screen readers hear a new stage, and every tenth of the way; not more often than they can speak.
function announcer(place, about = "") {
  let saidAt = -Infinity;
  let saidWords = "";
  let saidTenth = -1;
  return (state) => {
    const tenth = Math.floor(percentOf(state) / 10);
    const now = performance.now();
    if (state.words !== saidWords || (tenth !== saidTenth && now - saidAt > 5000)) {
      [saidAt, saidWords, saidTenth] = [now, state.words, tenth];
      place.textContent = `${about}${state.words}: ${percentOf(state)} %, ${grouped.format(state.failed)} failed`;
    }
  };
}

// The events of a run. That the connection is lost is shown and announced; the first state after that is announced anew.
function follow(path, { lost, said, about = "", show, ended }) {
  let announce = announcer(said, about);

  function connect() {
    const source = new EventSource(path);
    source.addEventListener("open", () => {
      if (!lost.hidden) {
        announce = announcer(said, about);
      }
      lost.hidden = true;
    });
    source.addEventListener("error", () => {
      if (lost.hidden) {
        said.textContent = `${about}${lost.textContent}`;
      }
      lost.hidden = false;
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(connectAgain, 2000);
      }
    });
    source.addEventListener("state", (event) => {
      const state = JSON.parse(event.data);
      show(state);
      if (state.total !== undefined) {
        announce(state);
      }
    });
    source.addEventListener("ended", () => {
      source.close();
      ended();
    });
  }

  // A browser connects again by itself, but not after an answer that is an error, as of a proxy while the console is away.
  async function connectAgain() {
    const looking = new AbortController();
    const answer = await fetch(path, { signal: looking.signal }).catch(() => null);
    looking.abort();
    if (answer && [401, 404].includes(answer.status)) { // the session has ended, or the run is not there any more
      location.reload();
    } else {
      connect();
    }
  }

  connect();
}

// A run, live. Each event holds the whole state, so that the page may miss some.
all("[data-live]", (box) => {
  const part = (name) => box.querySelector(`[data-live-${name}]`);

  function say(name, text) {
    const place = part(name);
    if (place.textContent !== text) {
      place.textContent = text;
    }
  }

  const title = document.title.replace(/^\d+ % · /, "");
  const plot = document.querySelector("[data-live-plot]");
  let plottedAt = performance.now();
  let plottedDone = -1;

  // The plot is drawn by the server; not again while the user is in it.
  async function refreshPlot(done) {
    const now = performance.now();
    if (!plot || done === plottedDone || now - plottedAt < 10000 || plot.contains(document.activeElement)) {
      return;
    }
    [plottedAt, plottedDone] = [now, done];
    const answer = await fetch(plot.dataset.livePlot).catch(() => null); // the console may be away
    if (answer && answer.ok) {
      const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = Boolean(plot.querySelector("details[open]"));
      plot.replaceChildren(...drawn.body.childNodes);
      plot.querySelectorAll("details").forEach((details) => { details.open = open; });
    }
  }

  function show(state) {
    say("words", state.words);
    if (state.total === undefined) {
      return;
    }
    document.title = `${percentOf(state)} % · ${title}`;
    refreshPlot(state.done);
    if (part("pause")) {
      part("pause").hidden = state.stopping;
      part("stop").hidden = !state.stopping;
    }
    part("bar").max = state.total || 1;
    part("bar").value = state.done;
    ["done", "total", "changed", "failed"].forEach((name) => say(name, grouped.format(state[name])));
    ["rate", "quota", "eta"].forEach((name) => say(name, state[name] || "–"));
    part("failures-box").hidden = state.failures.length === 0;
    part("failures").replaceChildren(...state.failures.map((failure) => {
      const line = document.createElement("li");
      line.textContent = `row ${grouped.format(failure.row)}, ${failure.name}: ${failure.error}`;
      return line;
    }));
  }

  follow(box.dataset.live, { lost: part("lost"), said: part("said"), show, ended: () => location.reload() });
});

// The home page: each of the runs under way shows how far it is; the page is loaded again when one has ended.
all("[data-progress]", (box) => {
  const said = box.querySelector("[data-progress-said]");
  const lost = box.querySelector("[data-progress-lost]");
  const about = `${box.querySelector("a").textContent}: `;

  function show(state) {
    box.querySelector("[data-progress-words]").textContent = state.words;
    box.querySelector("[data-progress-eta]").textContent = state.eta ? ` · ${state.eta}` : "";
    if (state.total === undefined) {
      return;
    }
    box.querySelector("progress").max = state.total || 1;
    box.querySelector("progress").value = state.done;
    ["done", "total", "failed"].forEach((name) => {
      box.querySelector(`[data-progress-${name}]`).textContent = grouped.format(state[name]);
    });
  }

  function ended() {
    const chosen = document.querySelector("#sheet");
    const reading = document.querySelector("[data-export-status] p, [data-export-error]");
    if ((chosen && chosen.files.length) || reading) { // a reload would lose the chosen file, and what the user reads
      box.querySelector("[data-progress-words]").textContent = "ended";
      said.textContent = `${about}ended`;
    } else {
      location.reload();
    }
  }

  follow(box.dataset.progress, { lost, said, about, show, ended });
});

// A part of a page that takes long to make comes after the page.
all("[data-load]", async (box) => {
  const answer = await fetch(box.dataset.load).catch(() => null); // the user may have left the page
  if (answer && answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    box.replaceChildren(...page.body.childNodes);
    showLocalTimes(box);
  }
});

// The export takes a while: the page stays, and says what happens. An error is the one of the page that answers.
all("form[data-export-form]", (form) => {
  const box = form.closest("[data-export]");
  const status = box.querySelector("[data-export-status]");
  const button = form.querySelector("button");

  function say(...texts) {
    status.replaceChildren(...texts.map((text) => {
      const line = document.createElement("p");
      line.textContent = text;
      return line;
    }));
  }

  function save(content, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async function answered(answer) {
    if (answer.ok) {
      const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "");
      save(await answer.blob(), name ? name[1] : "accounts.xlsx");
      say("The file is downloaded.", ...JSON.parse(answer.headers.get("Bulkid-Notes") || "[]"));
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const error = page.querySelector("[data-export-error]") ?? page.querySelector("main > [role=alert]");
    if (error) {
      say();
      form.before(error);
    } else { // the session has ended
      location.reload();
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    box.querySelectorAll("[role=alert]").forEach((error) => error.remove());
    button.disabled = true;
    say(form.dataset.exportForm);
    try {
      await answered(await fetch(form.getAttribute("action"), { method: "POST", body: new URLSearchParams(new FormData(form)) }));
    } catch {
      say("The console does not answer. Try again.");
    }
    button.disabled = false;
    button.focus();
  });
});

// Times are in UTC; the user's own time shows when the pointer rests on one.
function showLocalTimes(place) {
  place.querySelectorAll("time[datetime]").forEach((time) => {
    time.title = new Date(time.dateTime).toLocaleString(undefined, {
      year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
    });
  });
}

showLocalTimes(document);
