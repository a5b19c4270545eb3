//go:build race

package exportertest

// atOnce is the number of tests that run beside each other. The race detector makes each cost several
// times as much, and two cores have to keep up with all of them.
const atOnce = "10"
