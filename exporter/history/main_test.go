package history

import (
	"os"
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		writeUntilKilled(dir)
	}
	netlab.Main(m)
}
