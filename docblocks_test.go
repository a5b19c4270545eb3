package main

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/netlab"
)

// A block is a fenced block of a document.
type block struct {
	file, lang, text string
	line             int // of the first line of its text
}

// name is how a block is listed: its file and its first line, which outlive changes around it.
func (b *block) name() string {
	first, _, _ := strings.Cut(b.text, "\n")
	return b.file + ": " + strings.TrimSpace(first)
}

// blocksOf returns the fenced blocks of a document.
func blocksOf(file, text string) (all []block) {
	var open *block
	indent := ""
	for i, line := range strings.Split(text, "\n") {
		lang, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open, indent = &block{file: file, lang: lang, line: i + 2}, line[:len(line)-len(strings.TrimLeft(line, " "))]
		case fence:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n" // in a list
		}
	}
	return all
}

// documents returns the texts of all documents by their path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	files := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md"}
	err := filepath.WalkDir("docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".md" {
			files = append(files, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(b)
	}
	return all
}

// documentedBlocks returns the blocks of all documents.
func documentedBlocks(t *testing.T) (all []block) {
	t.Helper()
	texts := documents(t)
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		all = append(all, blocksOf(file, texts[file])...)
	}
	return all
}

// uncovered are the blocks that no part of TestDocuments covers, each with the reason.
func uncovered() map[string]string {
	reasons := make(map[string]string)
	for reason, names := range map[string][]string{
		"a drawing of the packages; internal/policy holds its arrows": {
			"docs/ARCHITECTURE.md: main.go, check.go, …      flags, signals, exit codes",
		},
		"a drawing": {
			"docs/how-it-measures.md: probes: ICMP echo, IKE, fragments, ESP, AH",
			"docs/how-it-measures.md: nothing known:   v2-badke x2 -> v2-major3 x2 -> v2-noprop x2 -> v1-main x2 -> v1-minor x2 -> silent",
			"docs/how-it-measures.md: reach   echo ┬─ flows, if no echo is answered ─┬─ second look, if a verdict on what answers waits for one",
			"docs/how-it-measures.md: opening {link}, or {V,V+1} of the last verdict",
			"docs/how-it-measures.md: TTL      1      2      3      4",
		},
		"commands of a Cisco device": {
			"docs/captures.md: access-list VPN-CAPTURE extended permit udp host 192.0.2.2 host 198.51.100.2 eq 500",
			"docs/captures.md: access-list VPN-CAPTURE extended permit ip host 192.0.2.2 host 198.51.100.2",
			"docs/captures.md: no capture VPN",
			"docs/gateways.md: username ipsecmon password ... privilege 5",
			"docs/gateways.md: ssh 192.0.2.10 255.255.255.255 inside",
			"docs/gateways.md: http server enable",
		},
		"PromQL beside its meaning; a test of internal/policy looks up the metrics": {
			"docs/metrics.md: ipsec_path_diagnosis == 1                                                active diagnoses, by peer",
		},
	} {
		for _, name := range names {
			reasons[name] = reason
		}
	}
	return reasons
}

// A reader covers a kind of block: it reports whether a block is one of its kind, and fails where
// the block is wrong.
type reader func(t *testing.T, b *block) bool

// TestDocuments runs or checks what the documents say: each block of shell commands, configuration,
// JSON and output. uncovered names the rest.
func TestDocuments(t *testing.T) {
	netlab.Need(t) // programs listen and measure: not in the user's network
	d := newManual(t)
	readers := map[string][]reader{
		"sh": {d.shell}, "yaml": {d.yaml}, "json": {d.json}, "ini": {d.unit}, "promql": {d.promql},
		"text": {d.help, d.configCheck, d.gatewayTable, d.report, d.demonstration, d.letter},
	}
	rest := uncovered()
	blocks := documentedBlocks(t)
	for i := range blocks {
		b := &blocks[i]
		covered := slices.ContainsFunc(readers[b.lang], func(r reader) bool { return r(t, b) })
		_, listed := rest[b.name()]
		switch {
		case covered && listed:
			t.Errorf("%s is covered: remove it from the list", b.name())
		case !covered && !listed:
			t.Errorf("%s:%d: no test covers the block %q", b.file, b.line, b.name())
		}
		delete(rest, b.name())
	}
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		t.Errorf("there is no block %q", name)
	}
	if len(blocks) < 100 {
		t.Errorf("only %d blocks were found", len(blocks))
	}
	d.runAll(t)
}

// A manual is what the readers of blocks need: the program, files in the place of those that a
// reader of the documents has, and what is to be run.
type manual struct {
	program
	// dir has the files that the documents name: config.yml, captures, an IKE daemon.
	dir string
	// runs are command lines of the program by their arguments, with the place of the first block.
	runs map[string]string
	// paths are what curl fetches, with the place of the first block.
	paths map[string]string
	// foreign are programs of others that blocks use.
	foreign map[string]bool
	// words are all texts of the sources, for messages that the documents search logs for.
	sources string
}

func newManual(t *testing.T) *manual {
	t.Helper()
	dir := t.TempDir()
	d := &manual{
		program: program(filepath.Join(dir, "ipsec_path_exporter")), dir: dir,
		runs: make(map[string]string), paths: make(map[string]string), foreign: make(map[string]bool),
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", string(d.program), ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
			b, err := os.ReadFile(path)
			d.sources += string(b)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "config.yml", "peers:\n- {name: PEER, address: 127.0.0.1, collectors: [icmp], gateways: [GATEWAY]}\n- {name: hq, address: 127.0.0.2, collectors: [icmp]}\n"+
		"gateways: [{name: GATEWAY, type: openiked, program: "+d.write(t, "ikectl", ikectl)+"}]\n")
	d.write(t, "partner.key", strings.Repeat("k", 44))
	return d
}

// ikectl is a control program of an IKE daemon with one tunnel.
const ikectl = `#!/bin/sh
[ "$2" = sa ] || exit 1
cat <<'END'
iked_sas: 0x55a1 rspi 0xa1 ispi 0xb1 127.0.0.9:4500->127.0.0.1:4500<FQDN/b.example.test>[] ESTABLISHED i natt udpecap nexti (nil) pol 0x55ff
  sa_childsas: 0x66a1 ESP 0x3f52449e out 127.0.0.9:4500 -> 127.0.0.1:4500 (L) B=(nil) P=0x66a2 @0x55a1
  sa_childsas: 0x66a2 ESP 0x9bbfc7dd in 127.0.0.1:4500 -> 127.0.0.9:4500 (LA) B=(nil) P=0x66a1 @0x55a1
END
`

// write writes a file of the folder and returns its path.
func (d *manual) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// promql blocks are read by tools/promqlcheck, where they are in one of its folders.
func (d *manual) promql(_ *testing.T, b *block) bool {
	return slices.Contains([]string{".", "docs", "docs/runbooks"}, filepath.ToSlash(filepath.Dir(b.file)))
}

// letter covers the texts in runbooks that are sent to a provider: no command and no output, with
// words in capitals to fill in.
func (d *manual) letter(_ *testing.T, b *block) bool {
	return strings.HasPrefix(b.file, "docs/runbooks/") && regexp.MustCompile(`\b(ADDRESS|GATEWAY|SINCE|TIME|HOST|N)\b`).MatchString(b.text)
}

// TestBlocksOf: fences inside lists count, and a block keeps its lines.
func TestBlocksOf(t *testing.T) {
	got := blocksOf("x.md", "a\n\n```sh\nb\n\nc\n```\n\n- d\n\n  ```text\n  e\n  ```\n")
	want := []block{{"x.md", "sh", "b\n\nc\n", 4}, {"x.md", "text", "e\n", 12}}
	if !slices.Equal(got, want) || got[1].name() != "x.md: e" {
		t.Errorf("%+v, want %+v", got, want)
	}
}
