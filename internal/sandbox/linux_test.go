//go:build linux

package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestNames: by number, also those that are not known yet.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		set  uint64
		want []string
	}{
		{0, []string{}},
		{kept(), []string{"dac_override", "net_bind_service", "net_admin", "net_raw"}},
		{1<<unix.CAP_LAST_CAP | 1<<(unix.CAP_LAST_CAP+1) | 1<<unix.CAP_SYS_ADMIN, []string{"sys_admin", "checkpoint_restore", "41"}},
	} {
		if diff := cmp.Diff(tt.want, names(tt.set)); diff != "" {
			t.Errorf("%x (-want +got):\n%s", tt.set, diff)
		}
	}
}

// TestRestricted: a kernel refuses a rule set with rights that it does not know.
func TestRestricted(t *testing.T) {
	t.Parallel()
	for version, want := range map[int]uint64{1: 0x1fff, 2: 0x3fff, 3: 0x7fff, 4: 0x7fff, 5: 0xffff, 7: 0xffff, 99: 0xffff} {
		if got := restricted(version); got != want {
			t.Errorf("version %d: %x, want %x", version, got, want)
		}
	}
}
