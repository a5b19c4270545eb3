package exporter

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/shard"
	"ipsec_path_exporter/exporter/web"
)

// echoOnly is the beginning of a configuration whose peers are measured by echo, and come from files
// of a directory.
func echoOnly(dir string) string {
	return "modules: {default: {collectors: [icmp], intervals: {icmp: 200ms}}}\npeer_files: ['" + dir + "/*.yml', '" + dir + "/*.json']\n"
}

// put writes a file by renaming, as Ansible does.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	at := filepath.Join(dir, name)
	if err := os.WriteFile(at+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
}

// named are the names of the running peers.
func (s *service) named() string {
	var names []string
	for _, p := range s.running() {
		names = append(names, p.Config.Name)
	}
	return strings.Join(names, " ")
}

func (s *service) awaitPeers(t *testing.T, names string) {
	t.Helper()
	exportertest.Eventually(t, soon, "the peers "+names, func() bool { return s.named() == names })
}

func (s *service) requests(t *testing.T, peer string) float64 {
	t.Helper()
	v, _ := s.scrape(t).value(`icmp_requests_total{peer="` + peer + `"}`)
	return v
}

// fileSeries is a series about a peer file.
func fileSeries(metric, dir, name string) string {
	return metric + `{file="` + filepath.Join(dir, name) + `"}`
}

// TestPeerFiles: files come, change, break and go while the program runs; a peer that does not change
// is not disturbed by any of it.
func TestPeerFiles(t *testing.T) {
	t.Parallel()
	l, dir := newLab(t), t.TempDir()
	put(t, dir, "a.yml", "- targets: ["+l.Address(false)+"]\n  labels: {__peer__: kept, site: haiti}\n")
	s := l.serve(t, echoOnly(dir))
	s.awaitPeers(t, "kept")
	before, _ := s.find("kept")
	const some = 5
	exportertest.Eventually(t, soon, "echoes", func() bool {
		v, _ := s.scrape(t).value(`icmp_requests_total{peer="kept",site="haiti"}`)
		return v >= some
	})
	one := func(name, more string) string {
		return fmt.Sprintf(`[{"targets": [%q], "labels": {"__peer__": %q%s}}]`, l.Address(true), name, more)
	}
	put(t, dir, "b.json", one("added", ""))
	s.awaitPeers(t, "added kept")
	loaded, _ := s.scrape(t).value("config_last_reload_success_timestamp_seconds{}")
	s.await(t, soon, `icmp_reachable{peer="added"}`, 1)
	put(t, dir, "b.json", one("added", `, "__intervals_icmp__": "300ms"`))
	exportertest.Eventually(t, soon, "the changed peer is started again, which alerts learn", func() bool {
		now, _ := s.scrape(t).value("config_last_reload_success_timestamp_seconds{}")
		return now > loaded
	})

	put(t, dir, "b.json", "[{")
	s.await(t, soon, fileSeries("peer_file_valid", dir, "b.json"), 0)
	if !s.is(t, fileSeries("peer_file_peers", dir, "b.json"), 1) || !s.is(t, fileSeries("peer_file_valid", dir, "a.yml"), 1) {
		t.Error("the other figures of the files changed")
	}
	if n := s.logged.Count(`level=ERROR msg="peer file is broken; keeping its last good content" file=` + filepath.Join(dir, "b.json")); n != 1 {
		t.Errorf("logged %d times:\n%s", n, s.logged)
	}
	put(t, dir, "c.yml", "- targets: ["+l.Address(true)+"]\n  labels: {__peer__: kept}\n")
	exportertest.Eventually(t, soon, "a name is in use", func() bool {
		return s.logged.Count(`name: \"kept\" is already the name of [0].targets[0] (`+filepath.Join(dir, "a.yml")+":1)") == 1
	})
	if s.named() != "added kept" {
		t.Errorf("the peers are %s", s.named())
	}
	sent := s.requests(t, "added")
	exportertest.Eventually(t, soon, "the peer of the broken file goes on", func() bool { return s.requests(t, "added") > sent })
	put(t, dir, "b.json", one("other", ""))
	if err := os.Remove(filepath.Join(dir, "c.yml")); err != nil {
		t.Fatal(err)
	}
	s.awaitPeers(t, "kept other")
	exportertest.Eventually(t, soon, "the file that is gone has no series", func() bool {
		_, there := s.scrape(t).value(fileSeries("peer_file_valid", dir, "c.yml"))
		return !there
	})
	if after, _ := s.find("kept"); after != before {
		t.Error("the peer that did not change was started again")
	}
}

// TestConfigMap: Kubernetes replaces a link beside the files, and nothing else.
func TestConfigMap(t *testing.T) {
	t.Parallel()
	l, dir := newLab(t), t.TempDir()
	version := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), "peers.yml", text)
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	group := "- targets: [" + l.Address(false) + "]\n  labels: {__peer__: first}\n"
	version("..1", group)
	link("..1", "..data")
	link("..data/peers.yml", "peers.yml")
	s := l.serve(t, echoOnly(dir))
	s.awaitPeers(t, "first")
	before, _ := s.find("first")
	version("..2", group+"- targets: ['"+l.Address(true)+"']\n  labels: {__peer__: second}\n")
	link("..2", "..tmp")
	if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	s.awaitPeers(t, "first second")
	if after, _ := s.find("first"); after != before {
		t.Error("the peer that did not change was started again")
	}
}

// TestReloadOfPeerFiles: a reload that a file does not go with changes nothing and names the file; one
// that changes the patterns follows the new ones.
func TestReloadOfPeerFiles(t *testing.T) {
	t.Parallel()
	l, dir, other := newLab(t), t.TempDir(), t.TempDir()
	put(t, dir, "a.yml", "- targets: ["+l.Address(false)+"]\n  labels: {__peer__: hq}\n")
	s := l.serve(t, echoOnly(dir))
	before := s.running()
	err := s.configure(t, echoOnly(dir)+"peers: [{name: hq, address: "+l.Address(true)+"}]\n")
	want := filepath.Join(dir, "a.yml") + `:2: [0].targets[0] ("hq"): name: "hq" is already the name of peers[0] (` + s.file + ":3)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if !s.is(t, "config_last_reload_successful{}", 0) || !slices.Equal(before, s.running()) {
		t.Error("the reload is not said to have failed, or changed the peers")
	}
	if err := s.configure(t, echoOnly(other)+"peers: [{name: local, address: '"+l.Address(true)+"'}]\n"); err != nil {
		t.Fatal(err)
	}
	s.awaitPeers(t, "local")
	put(t, other, "b.yml", "- targets: ["+l.Address(false)+"]\n  labels: {__peer__: new}\n")
	s.awaitPeers(t, "local new")
	if err := s.configure(t, "peers: [{name: local, address: '"+l.Address(true)+"'}]\n"); err != nil {
		t.Fatal(err)
	}
	s.awaitPeers(t, "local")
	if files := s.scrape(t)[namespace+"_peer_file_valid"]; files != nil {
		t.Errorf("files without patterns: %v", files)
	}
}

// TestShards: three programs have every peer once, from the configuration, from files and after a
// reload; each says which ones it has.
func TestShards(t *testing.T) {
	t.Parallel()
	l, dir := newLab(t), t.TempDir()
	const peers, total = 30, 3
	var listed strings.Builder
	listed.WriteString("peers:\n")
	var groups []string
	for i := range peers {
		if i < peers/2 {
			fmt.Fprintf(&listed, "- {name: p%d, address: %s}\n", i, l.Address(i%2 == 0))
		} else {
			groups = append(groups, fmt.Sprintf("{targets: ['%s'], labels: {__peer__: p%d}}", l.Address(i%2 == 0), i))
		}
	}
	put(t, dir, "a.yml", "["+strings.Join(groups, ", ")+"]")
	owner := make(map[string]int)
	var all []*service
	for i := range total {
		at := *l
		at.shard = shard.Shard{Index: i, Total: total}
		all = append(all, at.serve(t, echoOnly(dir)+listed.String()))
	}
	check := func(when string, n int) {
		t.Helper()
		clear(owner)
		for i, s := range all {
			for _, p := range s.running() {
				if first, twice := owner[p.Config.Name]; twice || shard.Of(p.Config.Name, total) != i {
					t.Errorf("%s: %s is in shard %d, and in %d", when, p.Config.Name, i, first)
				}
				owner[p.Config.Name] = i
			}
			info := fmt.Sprintf(`shard_info{shard="%d",total="%d"}`, i, total)
			if !s.is(t, info, 1) || !s.is(t, "shards{}", total) || !s.is(t, "shard_other_peers{}", float64(n-len(s.running()))) {
				t.Errorf("%s: shard %d of %d peers has %d and says %v", when, i, n, len(s.running()), s.scrape(t)[namespace+"_shard_other_peers"])
			}
		}
		if len(owner) != n {
			t.Errorf("%s: %d of %d peers are measured", when, len(owner), n)
		}
	}
	check("at the start", peers)
	put(t, dir, "b.yml", "[{targets: ['"+l.Address(true)+"'], labels: {__peer__: late}}]")
	exportertest.Eventually(t, soon, "all shards have read the file", func() bool {
		return !slices.ContainsFunc(all, func(s *service) bool {
			_, read := s.scrape(t).value(fileSeries("peer_file_valid", dir, "b.yml"))
			return !read
		})
	})
	exportertest.Eventually(t, soon, "one has the new peer", func() bool {
		_, measured := all[shard.Of("late", total)].find("late")
		return measured
	})
	check("after a file came", peers+1)
	for _, s := range all {
		if err := s.configure(t, echoOnly(dir)); err != nil {
			t.Fatal(err)
		}
	}
	check("after a reload", peers/2+1)
}

// TestShardOfGateways: a shard reads the gateways that its peers name, and does not take the SAs of the
// others for strangers.
func TestShardOfGateways(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.open = exportertest.Replay(exportertest.ASAGateway("MM_ACTIVE", "192.0.2.99", 0))
	var ours, theirs string
	for i := 0; ours == "" || theirs == ""; i++ {
		name := fmt.Sprintf("p%d", i)
		if shard.Of(name, 2) == 0 {
			ours = name
		} else {
			theirs = name
		}
	}
	l.shard = shard.Shard{Index: 0, Total: 2}
	s := l.serve(t, "modules: {default: {collectors: [icmp]}}\ngateways: [{name: west, type: xfrm, interval: 1s}, {name: east, type: xfrm, interval: 1s}]\n"+
		"peers:\n- {name: "+ours+", address: "+l.Address(false)+", gateways: [west]}\n- {name: "+theirs+", address: 192.0.2.99, gateways: [west, east]}\n")
	s.await(t, soon, `gateway_up{gateway="west"}`, 1)
	p := s.scrape(t)
	if _, read := p.value(`gateway_up{gateway="east"}`); read || len(s.readers.Pollers()) != 1 {
		t.Error("the gateway of the other shard is read")
	}
	for _, name := range []string{gateways.Unmatched, theirs} {
		if left := p.of(name); len(left) > 0 {
			t.Errorf("series of an SA of the other shard: %q", left)
		}
	}
	if !s.is(t, `tunnel_up{gateway="west",peer="`+ours+`"}`, 0) {
		t.Error("our own peer has no state at its gateway")
	}
	if n := s.logged.Count(`msg="gateways that only peers of other shards name are not read" gateways=[east]`); n != 1 {
		t.Errorf("logged %d times:\n%s", n, s.logged)
	}
}

// TestReloadAnswersForFiles: the client that asks for a reload gets the problem of a file that is in
// use and does not go with the new configuration.
func TestReloadAnswersForFiles(t *testing.T) {
	t.Parallel()
	l, dir := newLab(t), t.TempDir()
	put(t, dir, "a.yml", "- targets: ["+l.Address(false)+"]\n  labels: {__module__: old}\n")
	s := l.serve(t, echoOnly(dir))
	if s.named() != "" || !s.is(t, fileSeries("peer_file_valid", dir, "a.yml"), 0) {
		t.Fatalf("a module that does not exist: %s", s.named())
	}
	withOld := strings.Replace(echoOnly(dir), "modules: {", "modules: {old: {on_demand: true}, ", 1)
	if err := s.configure(t, withOld); err != nil {
		t.Fatal(err)
	}
	s.awaitPeers(t, l.Address(false))
	if err := os.WriteFile(s.file, []byte(echoOnly(dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := web.Handler(web.Config{TelemetryPath: "/metrics", Metrics: s.metrics, Ready: s.ready.Load, Lifecycle: true, Reload: s.reload.reload})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/-/reload", http.NoBody))
	if want := filepath.Join(dir, "a.yml") + `:2: [0].targets[0] ("` + l.Address(false) + `"): module: unknown module "old"`; !strings.Contains(w.Body.String(), want) || w.Code != http.StatusInternalServerError {
		t.Errorf("answer %d %s, want %s", w.Code, w.Body, want)
	}
	if _, ok := s.find(l.Address(false)); !ok {
		t.Error("the peer is gone")
	}
}
