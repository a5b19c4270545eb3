package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// update writes the usage of the commands into docs/configuration.md: go test . -run TestDocuments
// -update.
var update = flag.Bool("update", false, "write the usage of the commands into docs/configuration.md")

// help covers the usage of commands, to the letter.
func (d *manual) help(t *testing.T, b *block) bool {
	t.Helper()
	m := regexp.MustCompile(`^usage: ipsec_path_exporter (\w+)`).FindStringSubmatch(b.text)
	if m == nil {
		return false
	}
	t.Setenv("COLUMNS", "80")
	got := d.run(t, here, m[1], "--help").Stdout
	got = strings.TrimRight(regexp.MustCompile(`(?m) +$`).ReplaceAllString(got, ""), "\n") + "\n"
	if *update {
		page, err := os.ReadFile(b.file)
		if err == nil {
			err = os.WriteFile(b.file, bytes.Replace(page, []byte(b.text), []byte(got), 1), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	if diff := cmp.Diff(b.text, got); diff != "" {
		t.Errorf("%s:%d (-document +program; -update writes it):\n%s", b.file, b.line, diff)
	}
	return true
}

// configCheck covers the output of --config.check, to the letter. The files are what the documents
// say about them.
func (d *manual) configCheck(t *testing.T, b *block) bool {
	t.Helper()
	m := regexp.MustCompile(`^\$ ipsec_path_exporter --config.check --config.file=(\S+)\n`).FindStringSubmatch(b.text)
	if m == nil {
		return false
	}
	text, err := os.ReadFile(filepath.Join("exporter/config/testdata/bad", m[1]))
	if m[1] == "crowded.yml" {
		text, err = []byte("modules: {default: {intervals: {ike: 15s}}}\npeers: [{name: hq, address: 203.0.113.10}, {name: hq-over-lte, address: 203.0.113.10}]\n"+
			"limits: {packets_per_second: 1, bytes_per_second: 10kB}\n"), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	path := d.write(t, m[1], string(text))
	got := d.run(t, here, "--config.check", "--config.file="+path)
	out := strings.ReplaceAll(got.Stdout+got.Stderr, path, m[1])
	if diff := cmp.Diff(strings.TrimPrefix(b.text, m[0]), out); diff != "" {
		t.Errorf("%s:%d (-document +program):\n%s", b.file, b.line, diff)
	}
	return true
}

// gatewayTable covers the table of the command gateway: the same columns, in the same order, and the
// same first line.
func (d *manual) gatewayTable(t *testing.T, b *block) bool {
	t.Helper()
	if !strings.HasPrefix(b.text, "$ ipsec_path_exporter gateway ") {
		return false
	}
	got := d.run(t, here, "gateway", "--config.file="+filepath.Join(d.dir, "config.yml"), "GATEWAY")
	_, text, _ := strings.Cut(b.text, "\n")
	if diff := cmp.Diff(shape(text), shape(got.Stdout)); diff != "" {
		t.Errorf("%s:%d (-document +program):\n%s", b.file, b.line, diff)
	}
	return true
}

// shape is what two tables of gateways have in common: the headings, and the words of the first
// line.
func shape(table string) (all []string) {
	for line := range strings.Lines(table) {
		switch heading := regexp.MustCompile(`^[A-Z][A-Z -]+$`); {
		case heading.MatchString(strings.TrimSpace(line)):
			all = append(all, strings.Join(strings.Fields(line), " "))
		case strings.Contains(line, "read in"):
			_, counts, _ := strings.Cut(line, ": ")
			all = append(all, regexp.MustCompile(`[0-9.]+`).ReplaceAllString(strings.TrimSpace(counts), "N"))
		}
	}
	return all
}

// report covers excerpts of reports: each heading and each label of a line is one that reports have.
func (d *manual) report(t *testing.T, b *block) bool {
	t.Helper()
	if !regexp.MustCompile(`(?m)^[\w.:-]+( \([\w.:]+\))?: (FAULT \w+|no fault found)`).MatchString(b.text) {
		return false
	}
	known := reportWords(t)
	for line := range strings.Lines(b.text) {
		if word := reportWord(line); word != "" && !slices.Contains(known, word) {
			t.Errorf("%s:%d: no report of exporter/report/testdata has %q", b.file, b.line, word)
		}
	}
	return true
}

// reportWord returns the heading or the label of a line of a report, empty if there is none.
func reportWord(line string) string {
	line = strings.TrimRight(line, "\n")
	if regexp.MustCompile(`^[A-Z][A-Z ]+$`).MatchString(line) {
		return line
	}
	if m := regexp.MustCompile(`^  ([a-zA-Z][\w, ]*?)(?:  +|$)\S`).FindStringSubmatch(line); m != nil && len(m[1]) < 20 {
		return regexp.MustCompile(`\d+$`).ReplaceAllString(m[1], "N")
	}
	return ""
}

// reportWords are the headings and labels of all golden reports.
func reportWords(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("exporter/report/testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d reports, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if word := reportWord(line); word != "" {
				all = append(all, word)
			}
		}
	}
	return all
}

// demonstration covers the output of the demo: everything until it has measured is the same, to the
// letter, and the peers with their diagnoses that it found later are the expected ones.
func (d *manual) demonstration(t *testing.T, b *block) bool {
	t.Helper()
	if !strings.HasPrefix(b.text, "$ go run . demo") {
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, string(d.program), "demo", "--once", "--web.listen-address=127.0.0.1:0")
	var out, problems page
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	const ready = "\nReady after "
	for tick := time.NewTicker(20 * time.Millisecond); !strings.Contains(out.String(), ready); <-tick.C {
		select {
		case err := <-ended:
			t.Fatalf("the demo has ended: %v\n%s\n%s", err, &out, &problems)
		default:
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-ended
	_, text, _ := strings.Cut(b.text, "\n")
	want, rest, _ := strings.Cut(text, ready)
	got, _, _ := strings.Cut(out.String(), ready)
	got = regexp.MustCompile(`(127\.0\.0\.1|localhost):\d+`).ReplaceAllString(got, "localhost:10500")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:%d (-document +program):\n%s", b.file, b.line, diff)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +\d+ s  (\S+)`).FindAllStringSubmatch(rest, -1) {
		if !strings.Contains(got, "\n"+m[1]+" ") {
			t.Errorf("%s:%d: %s is no peer of the demo", b.file, b.line, m[1])
		}
	}
	return true
}
