package readers

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
)

// TestFileProblems: each problem names its place in the configuration, and none a secret.
func TestFileProblems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	const known = "192.0.2.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIXN1pWQK0oDnJ8sXG3OFVTL3g5rDDmGaJLXBjcQyB4c\n"
	good := ciscoasa.Config{
		Address: "192.0.2.1", PasswordFile: write("good", "PLANTED\n", 0o640), EnablePasswordFile: write("blank", "\n", 0o600),
		KnownHostsFile: write("known", known, 0o644),
		CAFile:         write("ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})), 0o644),
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	missing, empty, blank := filepath.Join(dir, "missing"), write("empty", "", 0o600), good.EnablePasswordFile
	many, open, text := write("many", "PLANTED\nPLANTED\n", 0o600), write("open", "PLANTED\n", 0o644), write("text", "PLANTED\n", 0o600)
	const readable = " is readable by every user of this host: remove that permission (chmod o-r)"
	const noFile = " does not exist: the gateway cannot be read until it does"
	for name, tt := range map[string]struct {
		change func(*ciscoasa.Config)
		want   string
	}{
		"good":             {func(*ciscoasa.Config) {}, ""},
		"none":             {func(c *ciscoasa.Config) { *c = ciscoasa.Config{} }, ""},
		"open":             {func(c *ciscoasa.Config) { c.PasswordFile = open }, "password_file: " + open + readable},
		"missing":          {func(c *ciscoasa.Config) { c.PasswordFile = missing }, "password_file: " + missing + noFile},
		"directory":        {func(c *ciscoasa.Config) { c.PasswordFile = dir }, "password_file: " + dir + " is not a regular file"},
		"pipe":             {func(c *ciscoasa.Config) { c.EnablePasswordFile = pipe }, "enable_password_file: " + pipe + " is not a regular file"},
		"empty":            {func(c *ciscoasa.Config) { c.PasswordFile = empty }, "password_file: " + empty + " is empty"},
		"empty line":       {func(c *ciscoasa.Config) { c.PasswordFile = blank }, "password_file: " + blank + " is empty"},
		"empty enable":     {func(c *ciscoasa.Config) { c.EnablePasswordFile = empty }, "enable_password_file: " + empty + " is empty"},
		"two lines":        {func(c *ciscoasa.Config) { c.PasswordFile = many }, "password_file: " + many + " has more than one line"},
		"no known hosts":   {func(c *ciscoasa.Config) { c.KnownHostsFile = missing }, "known_hosts_file: " + missing + noFile},
		"other host":       {func(c *ciscoasa.Config) { c.Address = "192.0.2.2:2222" }, "known_hosts_file: " + good.KnownHostsFile + " has no key of 192.0.2.2:2222 ("},
		"broken host keys": {func(c *ciscoasa.Config) { c.KnownHostsFile = text }, "known_hosts_file: reading known hosts: knownhosts: " + text + ":1: "},
		"bad CA":           {func(c *ciscoasa.Config) { c.CAFile = text }, "ca_file: " + text + " has no certificates"},
	} {
		cisco := good
		tt.change(&cisco)
		got := FileProblems(config.Gateway{Name: "hub", Cisco: cisco})
		want := "gateways (\"hub\"): " + tt.want
		if all := strings.Join(got, "\n"); strings.Contains(all, "PLANTED") || len(got) > 1 ||
			(tt.want == "") != (len(got) == 0) || len(got) == 1 && !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	two := good
	two.PasswordFile, two.CAFile = missing, missing
	want := []string{`gateways ("hub"): password_file: ` + missing + noFile, `gateways ("hub"): ca_file: ` + missing + noFile}
	if diff := cmp.Diff(want, FileProblems(config.Gateway{Name: "hub", Cisco: two})); diff != "" {
		t.Errorf("two problems (-want +got):\n%s", diff)
	}
}

// TestFileOfAnotherUser: root may read any file, an ordinary user may not.
func TestFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "closed")
	if err := os.WriteFile(file, []byte("PLANTED\n"), 0); err != nil {
		t.Fatal(err)
	}
	why, _ := fileProblem(file)
	if want := map[bool]string{true: "", false: "is not readable by this process"}[os.Getuid() == 0]; why != want {
		t.Errorf("%q, want %q", why, want)
	}
}
