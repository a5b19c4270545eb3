'use strict';
// Reads boards and the address of a Prometheus from standard input as JSON, and writes what each panel
// shows, and the faults in it, to standard output as JSON. dashboards/render_test.go has the types.

const { query } = require('./query.cjs');
const { show } = require('./show.cjs');
const { check } = require('./check.cjs');

async function main() {
	const chunks = [];
	for await (const chunk of process.stdin) {
		chunks.push(chunk);
	}
	const { world, boards } = JSON.parse(Buffer.concat(chunks).toString());
	const panels = [];
	for (const board of boards) {
		for (const panel of board.panels.flatMap((one) => (one.type === 'row' ? one.panels ?? [] : [one]))) {
			if (panel.type === 'text') {
				continue;
			}
			const shown = await show(panel, await query(world, panel));
			panels.push({ board: board.uid, panel: panel.title, kind: panel.type, ...shown, faults: check(panel, shown) });
		}
	}
	process.stdout.write(JSON.stringify({ panels }));
}

main().catch((error) => {
	console.error(error);
	process.exitCode = 1;
});
