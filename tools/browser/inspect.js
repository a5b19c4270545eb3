// Returns what is wrong with the page as it is shown, and the addresses that it refers to.
(() => {
	const problems = [];
	const describe = (e) => {
		const text = (e.textContent || "").trim().replace(/\s+/g, " ").slice(0, 60);
		return `<${e.tagName.toLowerCase()}${e.className && e.className.baseVal === undefined ? "." + e.className : ""}> "${text}"`;
	};

	// Nothing is wider than the screen, except inside an element that scrolls by itself. innerWidth
	// is no measure: a telephone shows a page that is too wide in a smaller scale.
	const screen = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > screen) {
		const wide = [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > screen + 1);
		problems.push(`wider than the screen: ${document.documentElement.scrollWidth} px, because of ${wide.slice(-3).map(describe).join(", ")}`);
	}

	// WCAG 2.1, success criterion 1.4.3: contrast of text at level AA.
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const known = new Map();
	const colour = (css) => {
		if (!known.has(css)) known.set(css, drawn(css));
		return known.get(css);
	};
	// The browser knows more notations of colours than rgb(), so it draws one.
	const drawn = (css) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = css;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const luminance = (c) => {
		const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const background = (e) => {
		const layers = [];
		for (let at = e; at; at = at.parentElement) {
			const c = colour(getComputedStyle(at).backgroundColor);
			layers.push(c);
			if (c[3] === 1) break;
		}
		const dark = matchMedia("(prefers-color-scheme: dark)").matches && getComputedStyle(document.documentElement).colorScheme.includes("dark");
		return layers.reverse().reduce((below, top) => over(top, below), dark ? [18, 18, 18, 1] : [255, 255, 255, 1]);
	};
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const seen = new Set();
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || seen.has(e) || !e.checkVisibility() || ["STYLE", "SCRIPT", "title"].includes(e.tagName)) continue;
		seen.add(e);
		const style = getComputedStyle(e);
		const below = background(e);
		const text = over(colour(e instanceof SVGElement ? style.fill : style.color), below);
		const [high, low] = [luminance(text), luminance(below)].sort((a, b) => b - a);
		const ratio = (high + 0.05) / (low + 0.05);
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight, 10) >= 700);
		if (ratio < (large ? 3 : 4.5)) problems.push(`contrast ${ratio.toFixed(2)} of ${describe(e)}`);
	}

	const links = [...document.querySelectorAll("a[href], link[href], form[action]")].map((e) => (e.tagName === "FORM" ? e.action : e.href));
	return { Problems: problems, Links: [...new Set(links)].filter((l) => l.startsWith("http")) };
})();
