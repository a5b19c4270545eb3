package peerfiles

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/shard"
)

// A world is a configuration with a directory of peer files.
type world struct {
	*Files
	t      *testing.T
	dir    string
	logged bytes.Buffer
	base   *config.Config
}

const gateway = "gateways: [{name: hub, type: xfrm}]\n"

func newWorld(t *testing.T, text string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.Files = New(slog.New(slog.NewTextHandler(&w.logged, nil)), func(string) bool { return true })
	w.configure(text)
	return w
}

// configure changes the configuration.
func (w *world) configure(text string) {
	w.t.Helper()
	var err error
	w.base, err = config.ReadAny(w.write("../"+filepath.Base(w.dir)+".config", "peer_files: ["+w.dir+"/*.yml, "+w.dir+"/*.json]\n"+text), nil)
	if err != nil {
		w.t.Fatal(err)
	}
}

// write writes a file as it is to be: by renaming.
func (w *world) write(name, text string) (path string) {
	w.t.Helper()
	path = filepath.Join(w.dir, name)
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// peers reads the files and returns the names of all peers.
func (w *world) peers() string {
	w.t.Helper()
	c, _, err := w.Complete(w.base)
	if err != nil {
		w.t.Fatal(err)
	}
	return names(c.Peers)
}

func names(peers []config.Peer) string {
	var all []string
	for i := range peers {
		all = append(all, peers[i].Name)
	}
	return strings.Join(all, " ")
}

// want fails unless the files give these peers, and have these problems.
func (w *world) want(when, peers string, problems ...string) {
	w.t.Helper()
	got := w.peers()
	text := ""
	if err := w.Problems(); err != nil {
		text = strings.ReplaceAll(err.Error(), w.dir+"/", "")
	}
	if got != peers || text != strings.Join(problems, "\n") {
		w.t.Errorf("%s: peers %q with problems:\n%s\nwant %q with:\n%s", when, got, text, peers, strings.Join(problems, "\n"))
	}
}

func group(name string) string {
	return "- targets: [" + name + ".example]\n  labels: {__peer__: " + name + "}\n"
}

// TestBrokenFiles: each keeps its last good content, and the others go on.
func TestBrokenFiles(t *testing.T) {
	w := newWorld(t, "peers: [{name: hq, address: 203.0.113.1}]\n")
	w.want("no file", "hq")
	if got := w.Unmatched(); len(got) != 2 {
		t.Errorf("patterns without a file: %q", got)
	}
	w.write("a.yml", group("a"))
	w.write("b.json", `[{"targets": ["b.example"], "labels": {"__peer__": "b"}}]`)
	w.write("c.txt", "no peers")
	w.want("two files", "hq a b")
	if got := w.Unmatched(); len(got) != 0 {
		t.Errorf("patterns without a file: %q", got)
	}
	w.write("a.yml", group("a")+"- nonsense\n")
	broken := `a.yml:3: [1]: must be a mapping of keys to values, not the single value "nonsense"`
	w.want("a is broken", "hq a b", broken)
	w.write("b.json", `[]`)
	w.want("b is empty", "hq a", broken)
	for range 3 {
		w.peers()
	}
	if n := strings.Count(w.logged.String(), "peer file is broken; keeping its last good content"); n != 1 || strings.Count(w.logged.String(), "level=ERROR") != 1 {
		t.Errorf("logged %d times:\n%s", n, &w.logged)
	}
	w.write("a.yml", "")
	w.want("a is truncated", "hq a", "a.yml: is empty: write [] for no peers")
	w.write("a.yml", group("a2"))
	w.want("a is good again", "hq a2")
	w.remove("a.yml")
	w.want("a is gone", "hq")
	w.write("a.yml", "nonsense")
	w.want("a is new and broken", "hq", `a.yml:1: must be a list, not the single value "nonsense"`)
	for _, line := range []string{"peer file is in use again", "peer file is gone", "peer file is broken; none of its peers is measured"} {
		if strings.Count(w.logged.String(), line) != 1 {
			t.Errorf("not logged once: %s\n%s", line, &w.logged)
		}
	}
}

// TestNamesInUse: a file with a name that is in use is broken, whichever comes first; both places are
// named.
func TestNamesInUse(t *testing.T) {
	w := newWorld(t, "peers:\n- {name: hq, address: 203.0.113.1}\n")
	w.write("b.yml", group("b"))
	w.want("one file", "hq b")
	w.write("a.yml", group("a")+group("b"))
	conflict := `a.yml:4: [1].targets[0] ("b"): name: "b" is already the name of [0].targets[0] (b.yml:1)`
	w.want("a takes a name of b", "hq b", conflict)
	w.write("c.yml", "[]\n")
	w.write("c.yml", "- targets: [c.example]\n  labels: {__peer__: hq}\n")
	base := `c.yml:2: [0].targets[0] ("hq"): name: "hq" is already the name of peers[0] (../` + filepath.Base(w.dir) + `.config:3)`
	w.peers()
	if text := strings.ReplaceAll(fmt.Sprint(w.Problems()), filepath.Dir(w.dir)+"/"+filepath.Base(w.dir)+".config", "../"+filepath.Base(w.dir)+".config"); !strings.Contains(text, strings.TrimPrefix(base, "c.yml")) {
		t.Errorf("problems:\n%s\nwant\n%s", text, base)
	}
	w.remove("c.yml")
	w.write("b.yml", group("b2"))
	w.want("b lets it go", "hq a b b2")
	w.write("b.yml", group("a"))
	w.write("a.yml", group("b"))
	w.want("they exchange a name", "hq b a")
	w.write("a.yml", group("x")+group("a"))
	w.want("a takes the name of b back", "hq b a", `a.yml:4: [1].targets[0] ("a"): name: "a" is already the name of [0].targets[0] (b.yml:1)`)
	w.write("b.yml", "- targets: [both.example]\n  labels: {__peer__: both, __family__: both}\n- targets: [y.example]\n  labels: {__peer__: x}\n")
	w.want("both want x", "hq b both@ip4 both@ip6 x", `a.yml:2: [0].targets[0] ("x"): name: "x" is already the name of [1].targets[0] (b.yml:3)`)
}

// TestFilesOnNames: two files that take one name at the same time: the first keeps it.
func TestFilesOnNames(t *testing.T) {
	w := newWorld(t, "")
	w.write("a.yml", group("one"))
	w.write("b.yml", group("two"))
	w.peers()
	w.write("a.yml", group("three"))
	w.write("b.yml", group("three"))
	w.want("both take a name", "three two", `b.yml:2: [0].targets[0] ("three"): name: "three" is already the name of [0].targets[0] (a.yml:1)`)
	w.write("c.yml", "- targets: [x.example]\n  labels: {__peer__: 'two@ip4', __family__: both}\n- targets: [x.example]\n  labels: {__peer__: two}\n")
	w.want("a third one takes another", "three two", w.problemOf("b.yml"), `c.yml:4: [1].targets[0] ("two"): name: "two" is already the name of [0].targets[0] (b.yml:1)`)
}

func (w *world) problemOf(name string) string {
	for _, s := range w.Status() {
		if filepath.Base(s.Path) == name && s.Problem != nil {
			return strings.ReplaceAll(s.Problem.Error(), w.dir+"/", "")
		}
	}
	return ""
}

// TestReloadWithFiles: a configuration that a file in use does not go with is refused, and nothing
// changes.
func TestReloadWithFiles(t *testing.T) {
	const modules = "modules: {old: {ike: {version: 1}}}\n"
	w := newWorld(t, modules+gateway)
	w.write("a.yml", "- targets: [a.example]\n  labels: {__module__: old, __gateways__: hub}\n")
	w.want("first", "a.example")
	for _, tt := range []struct{ text, problem string }{
		{gateway, `a.yml:2: [0].targets[0] ("a.example"): module: unknown module "old": must be one of: default`},
		{modules, `a.yml:2: [0].targets[0] ("a.example"): gateways[0]: unknown gateway "hub": no gateways are configured`},
		{modules + gateway + "peers: [{address: a.example}]\n", `a.yml:1: [0].targets[0] ("a.example"): name: "a.example" is already the name of peers[0] (`},
	} {
		good := w.base
		w.configure(tt.text)
		if _, _, err := w.Complete(w.base); err == nil || !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s: %v", tt.text, err)
		}
		w.base = good
		w.want("the earlier configuration", "a.example")
	}
	// What is broken by itself refuses nothing, and its last good content takes the new settings.
	w.write("a.yml", "nonsense")
	w.configure(modules + gateway + "peers: [{address: hq.example}]\n")
	w.want("with a broken file", "hq.example a.example", `a.yml:1: must be a list, not the single value "nonsense"`)
	w.configure("modules: {old: {ike: {version: 2}}}\n" + gateway)
	c, changed, err := w.Complete(w.base)
	if err != nil || !changed || c.Peers[0].Settings != c.Modules["old"] {
		t.Errorf("peers %+v, changed %t, %v", c.Peers, changed, err)
	}
	if w.configure(gateway); true {
		if _, _, err := w.Complete(w.base); err == nil || !strings.Contains(err.Error(), `unknown module "old"`) {
			t.Errorf("the last good content does not go with it: %v", err)
		}
	}
}

// TestUnreadable: what cannot be read is not gone.
func TestUnreadable(t *testing.T) {
	w := newWorld(t, "")
	w.write("a.yml", group("a"))
	w.want("readable", "a")
	w.remove("a.yml")
	if err := os.Symlink("nowhere", filepath.Join(w.dir, "a.yml")); err != nil {
		t.Fatal(err)
	}
	w.want("dangling", "a", "cannot read the peer file: open a.yml: no such file or directory")
	w.remove("a.yml")
	if err := unix.Mkfifo(filepath.Join(w.dir, "a.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want("a pipe", "a", "cannot read the peer file: read a.yml: not a regular file")
	w.write("a.yml", strings.Repeat("#", config.MaxPeerFile+1))
	w.want("too large", "a", "a.yml: is larger than the limit of 8388608 bytes (divide it)")
	w.write("a.yml", group("b"))
	w.want("readable again", "b")
	dir := w.dir
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	w.want("without the directory", "b", "cannot list the peer files: open "+dir+": no such file or directory")
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	w.want("the directory is back", "b")
}

// TestChanged: it is reported only where something differs.
func TestChanged(t *testing.T) {
	w := newWorld(t, "")
	w.write("a.yml", group("a"))
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() {}, true}, // the first reading
		{func() {}, false},
		{func() { w.write("a.yml", group("a")) }, false},
		{func() { w.write("a.yml", group("a")+group("b")) }, true},
		{func() { w.write("a.yml", "nonsense") }, false},
		{func() { w.write("b.yml", "nonsense") }, false},
		{func() { w.write("b.yml", group("c")) }, true},
		{func() { w.remove("b.yml") }, true},
		{func() { w.remove("a.yml") }, true},
		{func() {}, false},
	} {
		step.do()
		_, changed, err := w.Complete(w.base)
		if err != nil || changed != step.want {
			t.Errorf("step %d: changed %t, %v", i, changed, err)
		}
	}
}

// TestShardedFiles: three shards have every peer once, know the names of all, and both halves of a peer
// are together.
func TestShardedFiles(t *testing.T) {
	w := newWorld(t, "")
	var all []string
	var text strings.Builder
	for i := range 200 {
		name := fmt.Sprintf("p%d", i)
		all = append(all, name+"@ip4", name+"@ip6")
		fmt.Fprintf(&text, "- targets: [%s.example]\n  labels: {__peer__: %s, __family__: both}\n", name, name)
	}
	w.write("a.yml", text.String())
	var got []string
	for i := range 3 {
		s := shard.Shard{Index: i, Total: 3}
		f := New(slog.New(slog.DiscardHandler), s.Has)
		for range 2 { // the second time without a change
			c, _, err := f.Complete(w.base)
			if err != nil || len(c.Peers)+len(c.Others) != len(all) || len(c.Peers)%2 != 0 || len(c.Peers) < 80 {
				t.Fatalf("%v: %d peers and %d others, %v", s, len(c.Peers), len(c.Others), err)
			}
		}
		c, _, _ := f.Complete(w.base)
		for p := range slices.Values(c.Peers) {
			got = append(got, p.Name)
		}
		w.write("b.yml", group("p7"))
		if _, _, err := f.Complete(w.base); err != nil || f.Problems() == nil || !strings.Contains(f.Problems().Error(), `"p7" is already the name of [7].targets[0]`) {
			t.Errorf("%v: a name of whatever shard: %v, %v", s, err, f.Problems())
		}
		w.remove("b.yml")
	}
	slices.Sort(got)
	slices.Sort(all)
	if !slices.Equal(got, all) {
		t.Errorf("the shards together have %d of %d peers", len(got), len(all))
	}
}

// TestRead: once, and every problem is an error.
func TestRead(t *testing.T) {
	w := newWorld(t, "")
	w.write("a.yml", group("a"))
	if c, err := Read(w.base); err != nil || names(c.Peers) != "a" {
		t.Errorf("%v, %v", c, err)
	}
	w.write("b.yml", "nonsense")
	w.write("c.yml", group("a"))
	_, err := Read(w.base)
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; err == nil || n != 2 {
		t.Errorf("%d problems: %v", n, err)
	}
}
