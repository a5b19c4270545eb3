package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// TestTruth: the oracle prints a line for each peer of each family.
func TestTruth(t *testing.T) {
	var out strings.Builder
	if code := run([]string{"truth", "--count", "3", "--ipv6", "fd64::/64", "--mix", "hole", "--narrow", "1280"}, &out); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	var last struct {
		crowd.Profile
		Expect crowd.Expectation
	}
	if err := json.Unmarshal([]byte(lines[5]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Address.String() != "fd64::3" || last.MTU != 1280 || last.Expect.States["ike"] != "black_hole" {
		t.Errorf("%+v", last)
	}
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{
		{"fly"},
		{"truth", "--mix", "cleanest"},
		{"truth", "--delay", "80ms-5ms"},
		{"truth", "--ipv4", "10.64.0.0"},
		{"row", "loss"},
		{"row", "tea", "--exporter", "/bin/true"},
		{"scrape", "main_test.go"},
	} {
		if code := run(args, &strings.Builder{}); code != exitUnable {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// TestResults: what scrape has judged comes back as a table, and a missed goal is an exit code.
func TestResults(t *testing.T) {
	dir := t.TempDir()
	output, results := filepath.Join(dir, "output"), filepath.Join(dir, "results")
	for text, want := range map[string]int{"0.9 of-ready 12 allocs/scrape": exitOK, "1.9 of-ready": exitFail} {
		if err := os.WriteFile(output, []byte("BenchmarkScrape/text-2 5 100 ns/op "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code := run([]string{"scrape", "--results", results, output}, &strings.Builder{}); code != want {
			t.Errorf("%s: exit code %d, want %d", text, code, want)
		}
	}
	var table strings.Builder
	if code := run([]string{"table", results}, &table); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if got := strings.Count(table.String(), "| scrape | text: "); got != 3 {
		t.Errorf("%d rows of scrapes:\n%s", got, table.String())
	}
}
