// Package demo runs the exporter against simulated providers in namespaces of its own, with healthy
// peers, one behind each classic fault, and a gateway that has tunnels with some of them, and serves
// the results. It measures nothing itself: it adds the lab of the tests, the gateway and a
// configuration to the exporter of `serve`.
//
//	the user's process                          a copy, in user, network and mount namespaces
//	opens the listeners ───── handed over ────▶ builds the providers, runs what `serve` runs
//	prints what is where     ◀──── HTTP ───────
//	and each diagnosis
//	ends  ────────────── SIGTERM, or its death: SIGKILL ──▶ ends, and with it all namespaces
//
// Nothing has a name outside, so no file, interface, mount or namespace can be left behind.
package demo

import (
	"io"
	"log/slog"
)

// Options are the settings of the command line.
type Options struct {
	// Listen are the addresses of the host to listen on.
	Listen []string
	// Once ends the demo with its verdict: as soon as every peer has its expected diagnoses, or
	// when they are late.
	Once bool
	// Out receives the output for the user.
	Out io.Writer
	// Log receives the exporter's log.
	Log *slog.Logger
}
