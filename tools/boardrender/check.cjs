'use strict';
// Finds what a person cannot read, or would misread, in what a panel shows.

const broken = /\bNaN\b|Invalid date|undefined|∞/i;
// Units that are no language of people: 2 K peers, 1.67 mins.
const jargon = /\d\s*(K|Mil|mins|mp\/s|kp\/s|mB\/s)$/;
const ignorance = /^(unknown|not measured|not scraped|no data)\b/i;

// grey is the colour of what is not known.
function grey(color) {
	return /^#(..)\1\1$/i.test(color ?? '');
}

// texts are all texts that a panel's mappings give.
function texts(panel) {
	const all = new Set();
	const lists = [panel.fieldConfig.defaults.mappings ?? []];
	for (const { properties } of panel.fieldConfig.overrides ?? []) {
		lists.push(...properties.filter(({ id }) => id === 'mappings').map(({ value }) => value));
	}
	for (const mapping of lists.flat()) {
		const results = mapping.type === 'value' ? Object.values(mapping.options) : [mapping.options.result];
		results.forEach((result) => all.add(result.text));
	}
	return all;
}

// mappings are those that a cell has for its values.
function mappings(panel, name) {
	const own = (panel.fieldConfig.overrides ?? []).find(({ matcher }) => matcher.options === name)?.properties.find(({ id }) => id === 'mappings');
	return (own?.value ?? panel.fieldConfig.defaults.mappings ?? []).filter((one) => one.type !== 'special');
}

function checkCell(panel, cell, say) {
	const where = cell.name ? `${cell.name}: ` : '';
	if (broken.test(cell.text)) {
		say('broken text', `${where}${cell.text} for ${cell.raw}`);
	}
	if (jargon.test(cell.text)) {
		say('odd unit', `${where}${cell.text}`);
	}
	if (cell.type === 'string' && cell.raw !== '' && cell.text !== cell.raw && !texts(panel).has(cell.text)) {
		say('text changed', `${where}${cell.text} for ${cell.raw}`);
	}
	// Values without a unit are states. Others have words only for what is no quantity.
	if (cell.unit === 'none' && mappings(panel, cell.name).length > 0 && cell.raw !== '' && cell.raw != null) {
		if (!texts(panel).has(cell.text)) {
			say('no words', `${where}${cell.text} for ${cell.raw}`);
		} else if (!cell.color) {
			say('no colour', `${where}${cell.text}`);
		}
	}
	if (cell.tooltip === '' && cell.raw !== '') {
		say('no tooltip', `${where}${cell.text}`);
	}
	for (const link of cell.raw === '' ? [] : cell.links ?? []) {
		if (/\s|undefined|\$\{|%20|=&/.test(link)) {
			say('broken link', `${where}${link}`);
		}
	}
	if (ignorance.test(cell.text) && !grey(cell.color) && (cell.type !== 'string' || mappings(panel, cell.name).length > 0)) {
		say('unknown is not grey', `${where}${cell.text} is ${cell.color}`);
	}
}

function checkNames(panel, shown, say) {
	const names = panel.type === 'bargauge' && shown.nothing === undefined ? shown.cells.map(({ name }) => name) : shown.names;
	const seen = new Set();
	for (const name of names) {
		if (!name?.trim() || /^Value\b|[{}]|\(\)/.test(name)) {
			say('no name', JSON.stringify(name ?? ''));
		} else if (seen.has(name)) {
			say('name twice', name);
		}
		seen.add(name);
	}
	for (const header of shown.headers ?? []) {
		if (/^(Value|Time)\b/.test(header)) {
			say('no name', `the column ${header}`);
		}
	}
}

function checkNothing(panel, shown, say) {
	if (shown.nothing !== undefined) {
		const said = panel.fieldConfig.defaults.noValue ?? (panel.type === 'stat' ? 'unknown' : undefined);
		if (!shown.nothing || shown.nothing !== said) {
			say('nothing says nothing', shown.nothing);
		}
		if (panel.type === 'stat' && !grey(shown.cells[0].color)) {
			say('unknown is not grey', `${shown.nothing} is ${shown.cells[0].color}`);
		}
	} else if (shown.rows?.length === 0) {
		say('nothing says nothing', `headers without a row: ${shown.headers.join(', ')}`);
	} else if (shown.cells.length === 0) {
		say('nothing says nothing', 'no value');
	}
}

// check returns the faults of what a panel shows.
function check(panel, shown) {
	const found = [];
	const say = (fault, detail) => found.push({ fault, detail });
	checkNothing(panel, shown, say);
	checkNames(panel, shown, say);
	for (const cell of shown.cells) {
		if (shown.nothing === undefined) {
			checkCell(panel, cell, say);
		}
	}
	return found;
}

module.exports = { check };
