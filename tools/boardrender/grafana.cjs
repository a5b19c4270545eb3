'use strict';
// Loads Grafana's libraries and prepares them as Grafana's start does.

const Module = require('node:module');
const path = require('node:path');

// The data source asks the runtime only for links of exemplars, which the boards do not have.
const resolve = Module._resolveFilename;
Module._resolveFilename = function (request, ...rest) {
	return request === '@grafana/runtime' ? path.join(__dirname, 'runtime.cjs') : resolve.call(this, request, ...rest);
};

const data = require('@grafana/data');

// The package's index needs the editors of queries, so this takes the one file about answers.
const prometheus = path.dirname(require.resolve('@grafana/prometheus/package.json'));
const { transformV2, parseSampleValue } = require(path.join(prometheus, 'dist/cjs/result_transformer.cjs'));

// Transformations look for a page, and dates for a language. With a page before they are loaded, the
// libraries would take this for a browser.
globalThis.window = {};
globalThis.navigator ??= { language: 'en-US', languages: ['en-US'] };

// One transformation is there under two names.
data.standardTransformersRegistry.setInit(() => {
	const byId = new Map(Object.values(data.standardTransformers).map((one) => [one.id, one]));
	return [...byId].map(([id, transformation]) => ({ id, name: id, transformation: async () => transformation }));
});

// The options of fields that the boards set, with the library's own functions that read them. Grafana
// registers the same in @grafana/ui, which needs a browser.
function fieldOptions() {
	const registry = new data.FieldConfigOptionsRegistry();
	const process = {
		unit: data.unitOverrideProcessor,
		min: data.numberOverrideProcessor,
		max: data.numberOverrideProcessor,
		decimals: data.numberOverrideProcessor,
		displayName: data.displayNameOverrideProcessor,
		noValue: data.stringOverrideProcessor,
		thresholds: data.thresholdsOverrideProcessor,
		mappings: data.valueMappingsOverrideProcessor,
		links: data.dataLinksOverrideProcessor,
		color: data.identityOverrideProcessor,
		fieldMinMax: data.identityOverrideProcessor,
	};
	const custom = ['width', 'minWidth', 'align', 'hidden', 'cellOptions', 'axisPlacement', 'transform', 'lineStyle', 'spanNulls', 'hideFrom', 'tooltip'];
	for (const [id, processor] of Object.entries(process)) {
		registry.register({ id, path: id, name: id, process: processor, shouldApply: () => true, isCustom: false, settings: { expandTemplateVars: true } });
	}
	for (const name of custom) {
		registry.register({
			id: 'custom.' + name, path: name, name, process: data.identityOverrideProcessor, shouldApply: () => true, isCustom: true, settings: {},
		});
	}
	return registry;
}

module.exports = { data, transformV2, parseSampleValue, fieldOptions, theme: data.createTheme() };
