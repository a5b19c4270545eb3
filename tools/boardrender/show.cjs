'use strict';
// Turns frames into what a panel shows. The text, the colour and the name of everything come from
// Grafana's libraries. What the panels themselves decide, in Grafana's own source, is repeated here in
// a few lines each, with the place where it comes from.

const { data: grafana, fieldOptions, theme } = require('./grafana.cjs');

const text = grafana.formattedValueToString;

// replaceVariables knows the expressions that names and links of the boards use (dataMacros.ts in the
// sources of @grafana/scenes). Variables of the board get a value of their own.
function replaceVariables(template, scope) {
	const { frame, frameIndex, field, rowIndex } = scope?.__dataContext?.value ?? {};
	const value = {
		'__series.name': () => grafana.getFrameDisplayName(frame, frameIndex),
		'__value.raw': () => field.values[rowIndex],
	};
	const fields = rowIndex === undefined ? {} : grafana.getFieldDisplayValuesProxy({ frame, rowIndex });
	return template.replace(/\$\{([\w.]+)(?::(\w+))?\}/g, (all, path, format) => {
		let text = value[path]?.();
		if (path.startsWith('__data.fields.')) {
			text = fields[path.slice('__data.fields.'.length)];
		} else if (path.startsWith('__field.labels.')) {
			text = field?.labels?.[path.slice('__field.labels.'.length)];
		} else if (text === undefined) {
			text = path;
		}
		return format === 'percentencode' ? encodeURIComponent(String(text ?? '')) : String(text);
	});
}

// prepare applies the transformations, and the options of fields.
async function prepare(panel, frames) {
	const configs = panel.transformations ?? [];
	const context = { interpolate: (value) => value };
	const transformed = await new Promise((resolve, reject) => {
		grafana.transformDataFrame(configs, frames, context).subscribe({ next: resolve, error: reject });
	});
	const data = grafana.applyFieldOverrides({
		data: transformed, fieldConfig: clean(panel.fieldConfig), replaceVariables, theme, timeZone: 'utc', fieldConfigRegistry: fieldOptions(),
	});
	grafana.cacheFieldDisplayNames(data);
	return data;
}

// clean does what Grafana does on loading a board: the threshold without a value begins at -∞.
function clean(config) {
	const copy = structuredClone({ defaults: config.defaults ?? {}, overrides: config.overrides ?? [] });
	for (const step of copy.defaults.thresholds?.steps ?? []) {
		step.value ??= -Infinity;
	}
	return copy;
}

// empty is the text of a panel without data (PanelDataErrorView).
function empty(panel) {
	return { nothing: panel.fieldConfig.defaults.noValue ?? 'No data' };
}

function hasNothing(frames) {
	return frames.every((frame) => frame.length === 0 || frame.fields.length === 0);
}

// cell is a value as it is read.
function cell(field, value, frame, frames) {
	const shown = field.display(value);
	return { name: grafana.getFieldDisplayName(field, frame, frames), text: text(shown), color: shown.color, raw: value, type: field.type, unit: field.config.unit };
}

// tooltip is the text that shows at a cell, if its column names another one for that.
function tooltip(field, row, frame, frames) {
	const name = field.config.custom?.tooltip?.field;
	if (!name) {
		return undefined;
	}
	const other = frame.fields.find((one) => grafana.getFieldDisplayName(one, frame, frames) === name);
	return other ? text(other.display(other.values[row])) : '';
}

// links are the addresses that the links of a row's cell lead to.
function links(field, valueRowIndex) {
	return (field.getLinks?.({ valueRowIndex }) ?? []).map(({ href }) => href);
}

// values are those of a stat or a bar gauge.
function values(panel, frames) {
	const { defaults } = panel.fieldConfig;
	const list = grafana.getFieldDisplayValues({
		fieldConfig: clean(panel.fieldConfig), reduceOptions: panel.options.reduceOptions, replaceVariables, theme, data: frames, timeZone: 'utc',
	});
	// BarGaugePanel.tsx, clearNameForSingleSeries; a stat shows the name only beside others.
	const nameless = list.length === 1 && (panel.type === 'stat' || !defaults.displayName);
	const none = hasNothing(frames);
	return {
		cells: list.map(({ display, field, getLinks }) => ({
			links: (getLinks?.() ?? []).map(({ href }) => href),
			name: nameless ? undefined : display.title, text: text(display), color: theme.visualization.getColorByName(display.color ?? ''), raw: display.numeric,
			type: 'number', unit: field.unit,
		})),
		...(none ? { nothing: text(list[0].display) } : {}),
	};
}

// table shows its first frame that has fields.
function table(panel, frames) {
	const frame = frames.find((one) => one.fields.length > 0);
	if (!frame) {
		return empty(panel);
	}
	const fields = frame.fields.filter((field) => !field.config.custom?.hideFrom?.viz);
	const headers = fields.map((field) => grafana.getFieldDisplayName(field, frame, frames));
	// Only headers without rows: no text, whatever noValue says.
	const rows = Array.from({ length: frame.length }, (_, row) => fields.map((field) => ({
		...cell(field, field.values[row], frame, frames), links: links(field, row), tooltip: tooltip(field, row, frame, frames),
	})));
	return { headers, rows, cells: rows.flat() };
}

// thresholdText is the text of a merged value that is coloured by thresholds (TimelineChart/utils.ts,
// mergeThresholdValues and getThresholdItems).
function thresholdText(field, value) {
	const { steps } = field.config.thresholds;
	const at = steps.indexOf(grafana.getActiveThreshold(value, steps));
	const format = (limit) => text(grafana.getValueFormat(field.config.unit ?? '')(limit, field.config.decimals));
	const color = theme.visualization.getColorByName(steps[at].color);
	return steps[at].value === -Infinity && at < steps.length - 1 ? { text: '< ' + format(steps[at + 1].value), color } : { text: format(steps[at].value) + '+', color };
}

// timeline shows spans (TimelineChart/utils.ts, prepareTimelineFields).
function timeline(panel, frames) {
	const timed = frames.filter((frame) => frame.fields.some((field) => field.type === 'time' && typeof field.values[0] === 'number'));
	if (frames.length > 0 && timed.length === 0) {
		return { nothing: 'Data does not have a time field' };
	}
	const cells = [];
	const names = [];
	for (const frame of timed) {
		for (const field of frame.fields.filter((one) => one.type !== 'time')) {
			names.push(grafana.getFieldDisplayName(field, frame, frames));
			const merged = panel.options.mergeValues && field.config.color?.mode === 'thresholds' && field.config.thresholds?.steps.length > 0;
			for (const value of new Set(field.values.filter((one) => one != null))) {
				const one = cell(field, value, frame, frames);
				cells.push(merged ? { ...one, ...thresholdText(field, value) } : one);
			}
		}
	}
	return { names, cells };
}

// graph is a graph or a heat map; of each series the newest value is read.
function graph(panel, frames) {
	if (hasNothing(frames)) {
		return empty(panel);
	}
	const cells = [];
	const names = [];
	for (const frame of frames) {
		for (const field of frame.fields.filter((one) => one.type === 'number')) {
			const value = field.values.findLast((one) => one != null && !Number.isNaN(one));
			names.push(grafana.getFieldDisplayName(field, frame, frames));
			if (value !== undefined) {
				cells.push(cell(field, value, frame, frames));
			}
		}
	}
	return { names, cells };
}

const kinds = { stat: values, bargauge: values, table, 'state-timeline': timeline, timeseries: graph, heatmap: graph };

// show returns what a panel shows.
async function show(panel, frames) {
	const kind = kinds[panel.type];
	if (!kind) {
		throw new Error(`a panel of the kind ${panel.type}`);
	}
	return { cells: [], names: [], ...kind(panel, await prepare(panel, frames)) };
}

module.exports = { show };
