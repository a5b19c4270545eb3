package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// otherFlags are flags of other programs that stand alone in a text, with the program.
func otherFlags() map[string]string {
	return map[string]string{
		"--enable-feature": "Prometheus", "--security-opt": "docker run", "--initiate": "swanctl", "--up": "ipsec auto",
		"--status": "whack", "--trafficstatus": "whack", "--globalstatus": "whack",
	}
}

// knownFlags are the flags of all commands, with the negative ones of switches.
func knownFlags() map[string]bool {
	known := map[string]bool{"--version": true} // app.Version adds it
	add := func(flags []*kingpin.FlagModel) {
		for _, f := range flags {
			known["--"+f.Name] = true
			if f.IsBoolFlag() {
				known["--no-"+f.Name] = true
			}
		}
	}
	model := commandLine().Model()
	add(model.Flags)
	for _, c := range model.Commands {
		add(c.Flags)
	}
	return known
}

// inlineFlags returns the flags in the code spans of a document that are about this program: the spans
// that begin with a flag, with the program or with one of its commands.
func inlineFlags(text string) (all []string) {
	text = regexp.MustCompile("(?ms)^ *```.*?^ *```").ReplaceAllString(text, "")
	for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		if regexp.MustCompile(`^(--|(\./)?ipsec_path_exporter\b|(serve|check|gateway|capture|demo) )`).MatchString(span[1]) {
			all = append(all, regexp.MustCompile(`(?:^|\s)(--[a-z][a-z0-9.-]*)`).FindAllString(span[1], -1)...)
		}
	}
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// TestInlineFlags: every flag that a sentence of a document names is a flag of this program.
func TestInlineFlags(t *testing.T) {
	known, other, found := knownFlags(), otherFlags(), 0
	for file, text := range documents(t) {
		for _, flag := range inlineFlags(text) {
			if found++; !known[flag] && otherFlags()[flag] == "" {
				t.Errorf("%s: there is no flag %s", file, flag)
			}
			delete(other, flag)
		}
	}
	for flag, of := range other {
		t.Errorf("no document names %s of %s", flag, of)
	}
	if found < 50 {
		t.Errorf("only %d flags were found", found)
	}
}

// TestDocumentsCanFail: what is wrong in a document is noticed.
func TestDocumentsCanFail(t *testing.T) {
	d := &manual{runs: make(map[string]string), paths: make(map[string]string), foreign: make(map[string]bool)}
	for line, want := range map[string]string{
		"ipsec_path_exporter --config.fil=x":                     "unknown long flag '--config.fil'",
		"ipsec_path_exporter chek 203.0.113.10":                  "unexpected chek",
		"./ipsec_path_exporter gateway a b":                      "unexpected b",
		"go test ./nowhere":                                      "there is no nowhere/*.go",
		"go test ./exporter -run TestNoSuch":                     "there is no TestNoSuch",
		"go tool -modfile=tools/none.mod x":                      "no such file",
		"go run . demonstrate":                                   "unexpected demonstrate",
		"go install ./...":                                       "is no command of Go",
		"bench/none.sh":                                          "no such file",
		"README.md":                                              "is no program",
		"docker build -f deploy/None -t x .":                     "deploy/None does not exist",
		"docker run --rm ipsec_path_exporter --per=203.0.113.10": "unknown long flag '--per'",
		"kubectl get pods -l app=none":                           "has the label app=none",
		"curl -s":                                                "has no URL",
		"frobnicate":                                             "no such file",
	} {
		if got := d.command(".", "x.md:1", strings.Fields(line)); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for text, check := range map[string]func(*testing.T, *block) error{
		"peers: [{addr: 203.0.113.10}]\n": d.configuration, "scrape_configs: [{job: x}]\n": d.scrapeConfig,
		"apiVersion: apps/v1\nspec: {template: {spec: {containers: [{args: [--shards=2]}]}}}\n": d.pod,
	} {
		t.Run(text, func(t *testing.T) {
			if check(t, &block{text: text}) == nil {
				t.Errorf("no error of:\n%s", text)
			}
		})
	}
	if word := reportWord("  reech, esp       passes\n"); word != "reech, esp" || slices.Contains(reportWords(t), word) {
		t.Errorf("label %q", word)
	}
	if got := inlineFlags("`check --vai=x` and `ls --all`, `--pear`\n```sh\n`--x`\n```\n"); !slices.Equal(got, []string{"--vai", "--pear"}) {
		t.Errorf("flags %q", got)
	}
}
