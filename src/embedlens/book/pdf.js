// What turns the page that holds the whole book into the pages of the PDF; called by pdf.py.

// Keep the article; cover and contents first; everything unfolded; chapters as first headings.
// Returns the titles of the chapters.
function arrangeBook(titlePage) {
  const article = document.querySelector("article.bd-article");
  document.documentElement.dataset.theme = "light";
  article.querySelectorAll(".headerlink, .copybtn, .toggle-button, .no-print, script")
    .forEach((part) => part.remove());
  article.querySelectorAll("summary").forEach((part) => part.remove());
  article.querySelectorAll("details").forEach((part) => part.replaceWith(...part.childNodes));
  article.querySelectorAll(".toggle-hidden")
    .forEach((part) => part.classList.remove("toggle-hidden"));
  article.querySelectorAll("a[href*='index.html#']")
    .forEach((link) => link.setAttribute("href", link.hash));
  for (const entry of article.querySelectorAll("div.citation[id]")) {
    article.querySelectorAll(`.bibtex-citation a[href='#${entry.id}']`)
      .forEach((link) => link.setAttribute("href", `#reference-${entry.id}`));
    entry.id = `reference-${entry.id}`;
  }
  const list = document.createElement("ol");
  for (const anchor of article.querySelectorAll("span[id^='document-']")) {
    const chapter = anchor.nextElementSibling;
    for (const old of chapter.querySelectorAll("h2, h3, h4, h5")) {
      const heading = document.createElement(`h${old.tagName[1] - 1}`);
      heading.append(...old.childNodes);
      old.replaceWith(heading);
    }
    const line = document.createElement("li");
    line.innerHTML = `<a href="#${anchor.id}"><span></span><span class="page"></span></a>`;
    line.querySelector("span").textContent = chapter.querySelector("h1").textContent;
    list.append(line);
  }
  article.querySelector("h1").textContent = "About this book";
  const pages = document.createElement("div");
  pages.innerHTML = titlePage + '<section class="contents"><h1>Contents</h1></section>';
  pages.querySelector(".contents").append(list);
  document.body.className = "book";
  document.body.replaceChildren(...pages.childNodes, article);
  return [...list.children].map((line) => line.textContent);
}

// Write the number of its page behind each chapter in the contents.
function numberContents(pages) {
  document.querySelectorAll(".contents .page").forEach((place, i) => { place.textContent = pages[i]; });
}
