package exporter

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/netio"
)

// TestLossesAreLoggedOnce: what this host loses concerns all peers, and is logged once for all.
func TestLossesAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var l losses
	for i, step := range []struct {
		standstills, drops uint64
		logged             string
	}{
		{0, 0, ""},
		{2, 0, `level=WARN msg="this program or its host stood still, or the clock was set; silence meanwhile is unknown" times=2`},
		{2, 7, `level=WARN msg="this host loses answers before they are read; silence meanwhile is unknown" answers=7`},
		{2, 9, ""},
		{2, 9, `level=INFO msg="this host loses no more answers"`},
		{2, 9, ""},
	} {
		out.Reset()
		l.log(log, netio.Stats{Standstills: step.standstills, Drops: map[string]uint64{"udp": step.drops}})
		if got := out.String(); !strings.Contains(got, step.logged) || step.logged == "" && got != "" {
			t.Errorf("step %d: logged %q", i, got)
		}
	}
}
