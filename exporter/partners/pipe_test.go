//go:build unix

package partners

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/exporter/config"
)

// TestKeyInAPipe: a key file that would block is an error at once.
func TestKeyInAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "key")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []config.Partner{{KeyFile: pipe}, {KeyFile: "/dev/zero"}} {
		if _, err := ReadKeys(p); !errors.Is(err, errNoRegularFile) {
			t.Errorf("%s: %v", p.KeyFile, err)
		}
	}
}
