'use strict';
// Stands for @grafana/runtime.
module.exports = {
	getDataSourceSrv() {
		throw new Error('the boards have no exemplars');
	},
};
