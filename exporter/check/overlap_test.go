package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
)

// TestLanes: each verdict that is not known to be right gets one second look, as soon as it is known, and
// nothing is measured again that no verdict rests on.
func TestLanes(t *testing.T) {
	t.Parallel()
	const reach, size = "ICMP echo and IKE", "path MTU"
	for scenario, want := range map[string][]string{
		"S0": nil,
		"S1": nil,
		"S2": {size},
		// The silence of echo requests is looked at again while the path is still measured.
		"S3":   {reach, size},
		"S12":  {"protocols and routers"},
		"S6b":  {size},
		"S11a": {reach, "protocols and routers"},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Apply(t, scenario)
			cfg, err := config.FromArguments([]string{l.Address(false)})
			if err != nil {
				t.Fatal(err)
			}
			c, out := l.checker(t, cfg, false), &strings.Builder{}
			c.progress, c.timeout = newProgress(out, 1), time.Minute
			c.progress.out = out
			reports := c.all(t.Context(), cfg)
			first, again := steps(out.String())
			if diff := cmp.Diff(want, again); diff != "" {
				t.Errorf("second looks (-want +got):\n%s\n%s", diff, out.String())
			}
			if !slices.Equal(slices.Compact(slices.Sorted(slices.Values(first))), []string{reach, size, "protocols and routers", "resolving"}) {
				t.Errorf("first looks: %q", first)
			}
			if len(reports) != 1 || !reports[0].Measured && len(reports[0].Diagnoses) == 0 {
				t.Errorf("%+v", reports)
			}
		})
	}
}

// steps returns what a progress line named, each once in a row: at first, and in second looks.
func steps(lines string) (first, again []string) {
	for line := range strings.SplitSeq(lines, clearLine) {
		_, what, ok := strings.Cut(strings.TrimSuffix(line, " …"), ": ")
		if !ok {
			continue
		}
		if second, ok := strings.CutPrefix(what, string(secondLook)); ok {
			again = append(again, second)
		} else {
			first = append(first, what)
		}
	}
	return slices.Compact(first), slices.Compact(again)
}
