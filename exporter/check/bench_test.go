package check

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/exportertest"
)

// A situation is what a check is timed on.
type situation struct {
	name, scenario string
	v6, silent     bool
}

// situations are the lines of the table in docs/check.md. A silent peer is an address that answers
// nothing.
var situations = []situation{
	{name: "S0 clean, IPv4", scenario: "S0"},
	{name: "S1 smaller link, PTB arrives, IPv4", scenario: "S1"},
	{name: "S2 black hole, IPv4", scenario: "S2"},
	{name: "S2 black hole, IPv6", scenario: "S2", v6: true},
	{name: "S3 black hole, all ICMP dropped, IPv4", scenario: "S3"},
	{name: "S3 black hole, all ICMP dropped, IPv6", scenario: "S3", v6: true},
	{name: "silent peer, IPv4", scenario: "S0", silent: true},
	{name: "silent peer, IPv6", scenario: "S0", silent: true, v6: true},
	{name: "S8-20 20 % loss each way, IPv4", scenario: "S8-20"},
	{name: "S9 ICMP limited to 1/s, IPv4", scenario: "S9"},
}

// BenchmarkCheck times the check of the program EXPORTER on each situation, and logs what it found. Run
// bench/check.sh.
func BenchmarkCheck(b *testing.B) {
	program := os.Getenv("EXPORTER")
	if program == "" {
		b.Skip("EXPORTER names no program: run bench/check.sh")
	}
	for _, s := range situations {
		b.Run(strings.ReplaceAll(s.name, "/", " of "), func(b *testing.B) {
			l := &lab{exportertest.New(b)}
			l.Apply(b, s.scenario)
			if s.silent {
				l.Silence(b, l.ServerAddr(s.v6))
			}
			for b.Loop() {
				began := time.Now()
				found := l.timed(b, program, l.Address(s.v6))
				b.Logf("%-40s %5.1f s  %s", s.name, time.Since(began).Seconds(), found)
			}
		})
	}
}

// timed runs a check by a program.
func (l *lab) timed(b *testing.B, program, peer string) (found string) {
	b.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(b.Context(), program, "check", "--output=json", peer)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A code other than 0 says that a fault was found. What was found is in the report.
	if err := l.Client.Run(cmd.Start); err != nil {
		b.Fatal(err)
	}
	_ = cmd.Wait()
	var out document
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil || len(out) != 1 {
		b.Fatalf("%v: %s%s", err, stdout.String(), stderr.String())
	}
	found, _, _ = strings.Cut(summarize(&out[0]), ";")
	return found
}
