package dashboards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// renderer is the folder of the tool that shows boards by Grafana's own libraries.
const renderer = "../tools/boardrender"

// A shown panel is what a person reads on it.
type shown struct {
	Board   string
	Panel   string
	Kind    string
	Nothing *string
	Names   []string
	Headers []string
	Cells   []shownCell
	Rows    [][]shownCell
	Faults  []struct{ Fault, Detail string }
}

type shownCell struct {
	Name, Text, Color string
}

// A shownWorld is where and when the tool asks.
type shownWorld struct {
	Prometheus string            `json:"prometheus"`
	From       int64             `json:"from"`
	To         int64             `json:"to"`
	Step       int64             `json:"step"`
	Vars       map[string]string `json:"vars"`
}

// modules returns the folder with the libraries of the tool that .ci/install installs, or skips the test.
func modules(t *testing.T) string {
	t.Helper()
	need(t, "node")
	lock, err := os.ReadFile(filepath.Join(renderer, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "ipsec_path_exporter", "boardrender-"+hex.EncodeToString(sum[:6]), "node_modules")
	if _, err := os.Stat(filepath.Join(dir, "@grafana", "data")); err != nil {
		const how = "Grafana's libraries are not installed: .ci/install does it, with npm and its registry"
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("%s: %v", how, err)
		}
		t.Skipf("%s: %v", how, err)
	}
	return dir
}

// render returns what boards show, given as JSON, of a Prometheus at the end of an hour.
func (s server) render(t *testing.T, vars map[string]string, ends int64, boards ...[]byte) []shown {
	t.Helper()
	all := map[string]string{"rateInterval": "4m", "range": "1h", "interval": "1m"}
	maps.Copy(all, vars)
	input := struct {
		World  shownWorld        `json:"world"`
		Boards []json.RawMessage `json:"boards"`
	}{World: shownWorld{s.url, ends - 3600, ends, step, all}}
	for _, b := range boards {
		input.Boards = append(input.Boards, b)
	}
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(renderer, "main.cjs"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules(t))
	cmd.Stdin = bytes.NewReader(text)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("node: %v\n%s", err, log.String())
	}
	var answer struct{ Panels []shown }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Panels
}

// texts returns the boards' JSON.
func texts(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	for _, path := range files(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

// faults describes the faults of panels.
func faults(panels []shown) []string {
	var all []string
	for _, p := range panels {
		for _, f := range p.Faults {
			all = append(all, strings.Join([]string{p.Board, p.Panel, f.Fault, f.Detail}, ": "))
		}
	}
	return all
}

// longGone is the time in seconds after which an exporter that is gone has left nothing in the time range.
const longGone = 9000

// TestBoardsCanBeRead shows every panel of every board over several worlds.
func TestBoardsCanBeRead(t *testing.T) {
	modules(t)
	boards, now := texts(t), lastMinute()
	read := func(t *testing.T, s server, at int64, peer string) []shown {
		t.Helper()
		panels := s.render(t, everything(peer), at, boards...)
		if len(panels) < 80 {
			t.Errorf("only %d panels were shown", len(panels))
		}
		for _, f := range faults(panels) {
			t.Error(f)
		}
		return panels
	}
	t.Run("every diagnosis", func(t *testing.T) {
		s := serve(t, newWorld(t, somePeers(), now-longGone))
		read(t, s, now-longGone, "branch")
		t.Run("dead exporter", func(t *testing.T) { nothingIsWell(t, read(t, s, now-longGone+3000, "branch")) })
		t.Run("long dead exporter", func(t *testing.T) { nothingIsWell(t, read(t, s, now, "branch")) })
		t.Run("planted", func(t *testing.T) { plantedFaults(t, s, now-longGone) })
	})
	t.Run("no fault", func(t *testing.T) {
		peers := somePeers()
		for i := range peers {
			peers[i].faulty = false
		}
		read(t, serve(t, newWorld(t, peers, now)), now, "branch")
	})
	t.Run("no gateway", func(t *testing.T) {
		w := newWorld(t, somePeers(), now)
		w.families = slices.DeleteFunc(w.families, func(f family) bool {
			return slices.Contains(f.labels, "gateway") && !strings.HasPrefix(f.name, "ipsec_path_diagnosis")
		})
		read(t, serve(t, w), now, "branch")
	})
}

// TestManyPeersCanBeRead shows the boards over 2,000 peers of one exporter.
func TestManyPeersCanBeRead(t *testing.T) {
	modules(t)
	s := many(t, 2000, filepath.Join(t.TempDir(), "none"))
	// Graphs of all peers read recorded series, which this world does not have.
	s.series = slices.DeleteFunc(s.series, func(one scaleSeries) bool {
		return one.labels["peer"] != thePeer && (one.labels["le"] != "" || strings.HasPrefix(one.labels["__name__"], "ipsec_path_sa_"))
	})
	s.writeHistory(t, 4*scaleStep, false)
	vars := everything(thePeer)
	panels := s.render(t, vars, s.world.ends, texts(t)...)
	for _, f := range faults(panels) {
		t.Error(f)
	}
	rows := 0
	for _, p := range panels {
		if n := len(p.Cells); n > 500 {
			t.Errorf("%s: %s: %d values are too many to read", p.Board, p.Panel, n)
		}
		if p.Panel == "Peers" && (len(p.Cells) != 1 || p.Cells[0].Text != "2,000") {
			t.Errorf("%s: %s: %v, not 2,000", p.Board, p.Panel, p.Cells)
		}
		if strings.HasPrefix(p.Panel, "Peers with a fault (") {
			rows = len(p.Rows)
		}
	}
	if want := 2000 / *faultyPeers; rows != want {
		t.Errorf("%d rows of peers with a fault, not %d", rows, want)
	}
}

// nothingIsWell looks for green, and for "none", in what is shown of an exporter that is gone.
func nothingIsWell(t *testing.T, panels []shown) {
	t.Helper()
	const green = "#73BF69"
	for _, p := range panels {
		if p.Nothing != nil && (*p.Nothing == "none" || p.Kind == "stat" && *p.Nothing != "unknown") {
			t.Errorf("%s: %s: %q is said of what is not known", p.Board, p.Panel, *p.Nothing)
		}
		if p.Kind != "stat" && p.Kind != "table" {
			continue
		}
		for _, c := range p.Cells {
			if strings.EqualFold(c.Color, green) || c.Text == "none" {
				t.Errorf("%s: %s: %s %s is said of what is not known", p.Board, p.Panel, c.Name, c.Text)
			}
		}
	}
}
