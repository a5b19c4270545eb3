package exporter

import (
	"testing"

	"ipsec_path_exporter/exporter/exportertest"
)

func TestMain(m *testing.M) { exportertest.Main(m) }
