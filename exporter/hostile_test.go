package exporter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/gopacket/gopacket/pcapgo"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/readers"
	"ipsec_path_exporter/internal/untrusted"
)

const (
	// hostile is what a device, a daemon or a name server may send: what a terminal obeys, what
	// turns the direction of writing, line ends that forge a line, and bytes that are no UTF-8.
	hostile = "EVIL\x1b[31m\x1b]0;x\x07\x00\u009b2J\u202e\u2066\u200b\ufeff\r\n# forged\xff<img src=x onerror=y>[a](javascript:z)|`*"
	// visible is what a name may hold: what HTML, Markdown, YAML and PromQL obey.
	visible = `<img src=x onerror=y>[a](javascript:z)|*"'&{{.}}$(id)#`
)

// A hostileGateway shows a table, or fails with an error, with hostile texts.
type hostileGateway struct{ err error }

func (g hostileGateway) Read(context.Context) (gateways.Table, error) {
	t := gateways.Table{Info: gateways.Info{Type: hostile, Version: hostile}}
	id := gateways.Identity{Name: hostile, ID: "hq", Username: hostile, Group: hostile}
	t.IKE = []gateways.IKESA{{Key: hostile, Peer: id, Version: 1, State: gateways.XAuth, VendorState: hostile, Doing: hostile}}
	t.Children = []gateways.ChildSA{{Key: hostile, Peer: id, Name: hostile, State: gateways.Installed, VendorState: hostile}}
	t.Counters = []gateways.DeviceCounter{{Kind: "pmtu_received", Key: hostile, Value: 1}}
	t.Skip(hostile)
	return t, g.err
}

func (hostileGateway) Close() error { return nil }

// outputs are texts that the program shows, by where.
type outputs map[string]string

// TestHostileTexts: what files, devices and daemons supply never reaches a page, a log or a terminal in
// a form that these obey.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S2") // for a report with all chapters
	l.open = func(g *config.Gateway) (gateways.Source, error) {
		if g.Name == "broken" {
			return hostileGateway{errors.New(hostile)}, nil
		}
		return hostileGateway{}, nil
	}
	name, err := json.Marshal(visible)
	if err != nil {
		t.Fatal(err)
	}
	quoted := string(name)
	text := quick + "gateways: [{name: " + quoted + ", type: strongswan, interval: 1s}, {name: broken, type: strongswan, interval: 1s}]\n" +
		"peers:\n- {name: " + quoted + ", address: " + l.Address(false) + ", labels: {isp: " + quoted + "}, gateways: [" + quoted + ", broken], match: {ids: [hq]}}\n" +
		"- {name: lost, address: lost.example}\npeer_files: ['peers.d/*.yml']\n"
	r := &exportertest.Names{}
	r.Fail(errors.New(hostile))
	s := l.serveAs(t, text, false, r)
	exportertest.Eventually(t, 2*soon, "a black hole", func() bool {
		p, ok := s.find(visible)
		return ok && p.holds(diagnosis.PMTUBlackHole)
	})
	all := outputs{}
	s.collectPages(t, all)
	s.collectFiles(t, all)
	all["log"] = s.logged.String()
	var page bytes.Buffer
	slog.New(slog.NewJSONHandler(untrusted.Writer(&page), nil)).Info(hostile, "key", hostile)
	all["JSON log"] = page.String()
	commandOutputs(t, all)
	if len(all) < 25 {
		t.Errorf("%d outputs", len(all))
	}
	for where, text := range all {
		all.check(t, where, text)
	}
}

// collectPages fetches every page of the program.
func (s *service) collectPages(t *testing.T, all outputs) {
	t.Helper()
	h := s.withProbe(t, ServeOptions{ProbeAnyTarget: true})
	peer := "/peers/" + url.PathEscape(visible)
	for _, path := range []string{
		"/", "/?q=" + url.QueryEscape(hostile), "/metrics", "/sd", peer, peer + "/evidence", peer + "/report", peer + "/report?format=json",
		peer + "/report?format=markdown", peer + "/report?format=html", peer + "/report?format=" + url.QueryEscape(hostile),
		"/peers/" + url.PathEscape(hostile), "/peers/lost", "/peers/lost/report", "/" + url.PathEscape(hostile), "/metrics?name[]=" + url.QueryEscape(hostile),
	} {
		_, kind, body := get(t, h, path)
		if kind == "" {
			t.Errorf("%s has no type", path)
		}
		all["page "+path+" "+kind] = body
	}
	for _, query := range []string{"target=" + url.QueryEscape(hostile), "target=" + url.QueryEscape(visible) + "&module=" + url.QueryEscape(hostile)} {
		_, kind, body := get(t, h, "/probe?"+query)
		all["/probe?"+query+" "+kind] = body
	}
	_, _, file := get(t, h, peer+"/pcap")
	ng, err := pcapgo.NewNgReader(strings.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	var comments []string
	for {
		_, _, options, err := ng.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		comments = append(comments, options.Comments...)
	}
	if len(comments) == 0 {
		t.Error("no comments in the pcapng file")
	}
	all["pcapng comments"] = strings.Join(comments, "\n")
}

// collectFiles breaks peer files and the configuration by hostile texts.
func (s *service) collectFiles(t *testing.T, all outputs) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(s.file), "peers.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	quoted := fmt.Sprintf("%q", hostile)
	texts := map[string]string{
		"name": "- {targets: [203.0.113.1], labels: {__peer__: " + quoted + "}}", "target": "- {targets: [" + quoted + "]}",
		"label": "- {targets: [203.0.113.2], labels: {isp: " + quoted + "}}", "key": "- {" + quoted + ": 1}", "label name": "- {targets: [a.example], labels: {" + quoted + ": x}}",
		"syntax": hostile, "alias": "- *a\u202eb\n", "bidi name": "- {targets: [203.0.113.3], labels: {__peer__: \"a\u202eb\"}}",
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name+".yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exportertest.Eventually(t, 2*soon, "every file is refused", func() bool { return s.logged.Count("peer file is broken") >= len(texts) })
	for _, status := range s.files.Status() {
		if status.Problem == nil {
			t.Errorf("%s is accepted", status.Path)
		} else {
			all["problem of "+status.Path] = errorText(status.Problem)
		}
	}
	for name, text := range map[string]string{
		"peer": "peers: [{name: " + quoted + ", address: 203.0.113.1}]", "gateway": "gateways: [{name: " + quoted + ", type: xfrm}]", "type": "gateways: [{name: a, type: " + quoted + "}]",
		"key": quoted + ": 1", "label": "peers: [{address: 203.0.113.1, labels: {a: " + quoted + "}}]", "address": "peers: [{address: " + quoted + "}]",
		"bidi peer": "peers: [{name: \"a\u202eb\", address: 203.0.113.1}]", "bidi label": "peers: [{address: 203.0.113.1, labels: {isp: \"a\u2066b\"}}]",
	} {
		file, web := exportertest.ConfigFile(t, text), ""
		var out bytes.Buffer
		err := CheckConfig(ServeOptions{ConfigFile: file, Web: &toolkit.FlagConfig{WebConfigFile: &web}, TelemetryPath: "/metrics", TotalShards: 1}, &out)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		all["problem of the configuration, "+name] = errorText(err)
	}
}

// errorText is an error as the commands print it.
func errorText(err error) string {
	var b strings.Builder
	fmt.Fprintln(untrusted.Writer(&b), err)
	return b.String()
}

// commandOutputs runs the commands that end, with the hostile gateways.
func commandOutputs(t *testing.T, all outputs) {
	t.Helper()
	whack := filepath.Join(t.TempDir(), "whack")
	const shown = "#1: \"a\":500 STATE_\x1b[31m\u202e (x); idle;\n"
	for name, script := range map[string]string{
		"table": "cat <<'E'\npluto_version=5.0\x1b[31m\u202e\n\"a\": 192.0.2.1...192.0.2.2; erouted;\n#1: \"a\u202e\":500 established IKE SA; idle;\n" + shown + "E\n",
		"error": "cat >&2 <<'E'\n" + hostile + "\nE\nexit 1\n",
	} {
		if err := os.WriteFile(whack, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		file := exportertest.ConfigFile(t, "gateways: [{name: lsw, type: libreswan, program: "+whack+"}]\npeers: [{name: hq, address: 127.0.0.1, gateways: [lsw], collectors: [icmp]}]\n")
		for _, output := range []string{"text", "json"} {
			var out, notes bytes.Buffer
			err := readers.Run(t.Context(), readers.Options{ConfigFile: file, Output: output, Stdout: &out, Stderr: &notes})
			all["gateway "+name+" "+output] = out.String() + notes.String()
			if err != nil {
				all["gateway "+name+" error "+output] = errorText(err)
			}
		}
		for _, output := range []string{"text", "json", "markdown", "html"} {
			var out, notes bytes.Buffer
			err := check.Run(t.Context(), check.Options{ConfigFile: file, Output: output, Timeout: soon, Stdout: &out, Stderr: &notes})
			all["check "+name+" "+output] = out.String()
			all["check "+name+" notes "+output] = notes.String()
			if err != nil {
				all["check "+name+" error "+output] = errorText(err)
			}
		}
	}
}

// Forms that HTML and Markdown obey.
var (
	obeyedHTML     = regexp.MustCompile(`<img|\{\{\.\}\}EVIL`)
	obeyedMarkdown = regexp.MustCompile(`(^|[^\\])<img|(^|[^\\])\]\(javascript:|(?m)^# forged`)
)

// check fails the test if a text holds what its reader obeys.
func (outputs) check(t *testing.T, where, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is no UTF-8:\n%.2000q", where, text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsGraphic(r) }); i >= 0 {
		t.Errorf("%s holds %q:\n…%.200q", where, []rune(text[i:])[0], text[max(0, i-100):])
	}
	if !strings.Contains(where, "html") && regexp.MustCompile(`(?m)^# forged`).MatchString(text) { // HTML has no lines
		t.Errorf("%s has a forged line:\n%.2000s", where, text)
	}
	switch {
	case strings.Contains(where, "html"):
		if at := obeyedHTML.FindStringIndex(text); at != nil {
			t.Errorf("%s holds HTML:\n…%.300s", where, text[max(0, at[0]-100):])
		}
	case strings.Contains(where, "markdown"):
		if at := obeyedMarkdown.FindStringIndex(outsideCode(text)); at != nil {
			t.Errorf("%s holds Markdown:\n…%.300s", where, outsideCode(text)[max(0, at[0]-100):])
		}
	case strings.Contains(where, "json"):
		if strings.TrimSpace(text) != "" && !json.Valid([]byte(text)) && !strings.Contains(where, "error") && !strings.Contains(where, "notes") {
			t.Errorf("%s is no JSON:\n%.500s", where, text)
		}
	}
}

// outsideCode returns Markdown without its code.
func outsideCode(text string) string {
	text = regexp.MustCompile("(?ms)^(```+)text\n.*?^```+$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}
