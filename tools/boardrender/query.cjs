'use strict';
// Asks Prometheus what a panel asks, and turns the answers into data frames as the data source does: first
// its backend (pkg/promlib in Grafana's sources), then its frontend (transformV2).

const { data: grafana, transformV2, parseSampleValue } = require('./grafana.cjs');

// expand puts values in place of variables. Where a variable has one value, the query compares with "=".
function expand(expr, vars) {
	return expr
		.replaceAll('peer="$peer"', `peer="${vars.one}"`)
		.replaceAll('instance="$instance"', `instance="${vars.oneInstance}"`)
		.replaceAll('$__rate_interval', vars.rateInterval)
		.replaceAll('$__range', vars.range)
		.replaceAll('$__interval', vars.interval)
		.replace(/\$(\w+)/g, (all, name) => {
			if (!(name in vars)) {
				throw new Error(`no value of the variable ${name} in ${expr}`);
			}
			return vars[name];
		});
}

const answers = new Map();

// ask caches: boards that differ in a setting ask the same.
async function ask(world, target) {
	const form = new URLSearchParams({ query: expand(target.expr, world.vars) });
	let path = '/api/v1/query';
	if (target.instant) {
		form.set('time', world.to);
	} else {
		path = '/api/v1/query_range';
		for (const [name, value] of [['start', world.from], ['end', world.to], ['step', world.step]]) {
			form.set(name, value);
		}
	}
	const key = path + form;
	if (!answers.has(key)) {
		const response = await fetch(world.prometheus + path, { method: 'POST', body: form });
		const body = await response.json();
		if (body.status !== 'success') {
			throw new Error(`${body.error}: ${target.expr}`);
		}
		answers.set(key, body.data);
	}
	return answers.get(key);
}

// legend is the name of a series (getName in promlib).
function legend(target, labels) {
	if (target.legendFormat) {
		return target.legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (all, name) => labels[name] ?? '');
	}
	const { __name__: metric = '', ...rest } = labels;
	const pairs = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`).sort();
	const name = pairs.length > 0 ? `${metric}{${pairs.join(', ')}}` : metric || '{}';
	return name === '{}' ? target.expr : name;
}

// frames are what the backend makes of an answer: one per series, or one without fields if there is none.
function frames(world, target, answer) {
	const list = answer.resultType === 'scalar' ? [{ metric: {}, value: answer.result }] : answer.result;
	if (list.length === 0) {
		return [{ refId: target.refId, fields: [], length: 0, meta: {} }];
	}
	return list.map((series) => {
		const samples = series.values ?? [series.value];
		if (samples.includes(undefined)) {
			throw new Error(`an answer without a number: ${target.expr}`);
		}
		const name = legend(target, series.metric);
		const fields = [
			{
				name: grafana.TIME_SERIES_TIME_FIELD_NAME, type: grafana.FieldType.time, config: { interval: world.step * 1000 },
				values: samples.map(([time]) => Math.round(time * 1000)),
			},
			{
				name: series.metric.__name__ ?? grafana.TIME_SERIES_VALUE_FIELD_NAME, type: grafana.FieldType.number, labels: series.metric,
				config: name ? { displayNameFromDS: name } : {}, values: samples.map(([, value]) => parseSampleValue(value)),
			},
		];
		return { refId: target.refId, fields, length: samples.length, meta: { type: 'timeseries-multi', custom: { resultType: answer.resultType } } };
	});
}

// query returns the frames of all queries of a panel.
async function query(world, panel) {
	const all = [];
	for (const target of panel.targets) {
		all.push(...frames(world, target, await ask(world, target)));
	}
	return transformV2({ data: all }, { targets: panel.targets, app: grafana.CoreApp.Dashboard }, {}).data;
}

module.exports = { query };
