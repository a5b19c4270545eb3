package trace

import (
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }
