package exporter

import (
	"flag"
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

// manyAtOnce is how many tests run side by side: they wait most of the time.
const manyAtOnce = "32"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", manyAtOnce); err != nil {
		panic(err)
	}
	netlab.Main(m)
}
