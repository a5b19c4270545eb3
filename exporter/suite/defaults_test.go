package suite_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/suite"
)

// TestDefaultsAreDocumented compares the collectors that run, their intervals and the least that
// can be configured with docs/configuration.md.
func TestDefaultsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	row := func(key, more string) []string {
		found := regexp.MustCompile(`(?m)^\| ` + "`" + regexp.QuoteMeta(key) + "`" + more).FindSubmatch(b)
		if found == nil {
			t.Fatalf("docs/configuration.md has no row for %s", key)
		}
		var fields []string
		for _, f := range found[1:] {
			fields = append(fields, string(f))
		}
		return fields
	}
	duration := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	every := suite.DefaultIntervals()
	for _, c := range suite.All() {
		fields := row("intervals."+c.String(), " \\| `(\\w+)` \\| (\\w+) to ")
		if d := duration(fields[0]); every[c] != d || c.Spec().Every != d {
			t.Errorf("%s: every %v, documented %v", c, every[c], d)
		}
		if d := duration(fields[1]); c.Spec().Least != d {
			t.Errorf("%s: at least %v, documented %v", c, c.Spec().Least, d)
		}
	}
	var names []string
	for c := range suite.DefaultSet().All() {
		names = append(names, c.String())
	}
	if got, want := strings.Join(names, ", "), row("collectors", " \\| `\\[([^]]+)\\]` \\|")[0]; got != want {
		t.Errorf("by default %s run, documented %s", got, want)
	}
}

func TestNames(t *testing.T) {
	var names []string
	for _, c := range suite.All() {
		names = append(names, c.String())
	}
	if want := []string{"icmp", "ike", "pmtu", "fragments", "protocols", "flows", "inside", "partner"}; !slices.Equal(names, want) {
		t.Errorf("collectors %q, want %q", names, want)
	}
	if got := fmt.Sprint(suite.Collector(len(names))); got != "unknown" {
		t.Errorf("a collector that does not exist is %q", got)
	}
}
