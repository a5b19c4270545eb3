//go:build !race

package exportertest

// atOnce is the number of tests that run beside each other: they wait most of the time.
const atOnce = "32"
