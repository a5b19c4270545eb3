package libreswan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/gatewaystest"
)

// TestEndlessAnswers: parsing ends with the deadline of the reading, whatever whack prints.
func TestEndlessAnswers(t *testing.T) {
	var serials strings.Builder // each an SA that another line names
	for i := 1; serials.Len() < gatewaystest.FloodBytes; i++ {
		fmt.Fprintf(&serials, "\"a\": SA #%d SA #%d00000000\n", i, i)
	}
	floods := gatewaystest.Floods(`#1: "a":500 established IKE SA; REKEY in 1s; newest; idle;`, `#1: "a":500 x`, `"a": 1.2.3.4...5.6.7.8; erouted;`,
		`#2: "a" esp.1@1.2.3.4`, `"a":   our id=b; their id=c.`)
	floods["named SAs"] = serials.String()
	for name, out := range floods {
		gatewaystest.WantEnd(t, name, func(ctx context.Context) {
			st := parseStatus(ctx, out)
			st.found()
			_, _ = st.assemble(ctx, parseTraffic(ctx, out), nil).Checked()
			parseGlobal(ctx, out)
		})
	}
}

// TestEndlessWhack: a program that prints without end is ended with the reading.
func TestEndlessWhack(t *testing.T) {
	whack := filepath.Join(t.TempDir(), "whack")
	if err := os.WriteFile(whack, []byte("#!/bin/sh\nwhile :; do echo '#1: \"a\":500 x'; done\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := New(Config{Whack: whack})
	gatewaystest.WantEnd(t, "whack", func(ctx context.Context) {
		if _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// TestTooManySAs: a table that is not read to its end is an error.
func TestTooManySAs(t *testing.T) {
	var out strings.Builder
	for i := range gateways.MaxSAs + 1 {
		fmt.Fprintf(&out, "#%d: \"a\":500 established IKE SA; idle;\n", i+1)
	}
	whack := filepath.Join(t.TempDir(), "whack")
	if err := os.WriteFile(whack+".out", []byte("pluto_version=5.0\n"+out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(whack, []byte("#!/bin/sh\ncat '"+whack+".out'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Whack: whack}).Read(t.Context()); !errors.Is(err, gateways.ErrTooMany) {
		t.Errorf("error %v", err)
	}
}
