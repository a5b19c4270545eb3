package exporter

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	toolkit "github.com/prometheus/exporter-toolkit/web"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/shard"
)

// TestRules: the directories of all files that flags and the configuration name, also those that
// symbolic links lead to, and nothing else of the file system that is not the system's.
func TestRules(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "credentials"))
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("ca/ca.pem", "")
	script, web := write("bin/whack", "#!/bin/sh\n"), write("web/web.yml", "tls_server_config: {cert_file: ../tls/cert.pem, key_file: "+dir+"/keys/key.pem}\n")
	write("tls/cert.pem", "")
	write("keys/key.pem", "")
	target := write("releases/1/config.yml", "peer_files: [peers.d/*.yml]\ngateways:\n"+
		"- {name: hub, type: cisco_asa, transport: https, address: 192.0.2.1, username: u, password_file: "+dir+"/later/deep/secret, ca_file: "+dir+"/ca/ca.pem}\n"+
		"- {name: lsw, type: libreswan, program: "+script+"}\n"+
		"peers:\n- {name: colo, address: 192.0.2.2, partner: {key_file: "+dir+"/partner/key, key_file_next: "+dir+"/next/key}}\n")
	write("partner/key", "0123456789abcdef")
	write("next/key", "0123456789abcdef")
	link := filepath.Join(dir, "etc", "config.yml")
	if err := os.Mkdir(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.ReadAny(link, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := ServeOptions{ConfigFile: link, StoragePath: filepath.Join(dir, "history"), Web: &toolkit.FlagConfig{WebConfigFile: &web}}
	rules := o.rules(cfg)
	inside := func(all []string) (out []string) {
		for _, path := range all {
			if rest, ok := strings.CutPrefix(path, dir); ok {
				out = append(out, strings.TrimPrefix(rest, "/"))
			}
		}
		return out
	}
	// A directory that does not exist yet is made in one that does: here, in the directory of all.
	want := []string{"", "bin", "ca", "credentials", "etc", "keys", "next", "partner", "releases/1", "tls", "web"}
	if got := inside(rules.Read); !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if got := inside(rules.Write); !slices.Equal(got, []string{"history"}) {
		t.Errorf("write %q", got)
	}
	if got := inside(rules.Run); !slices.Equal(got, []string{"bin", "bin/whack"}) || !slices.Contains(rules.Run, "/bin") {
		t.Errorf("run %q", rules.Run)
	}
	// What is reachable is decided by the rules of the start.
	r := newReloader(slog.New(slog.DiscardHandler), shard.Shard{})
	if err := r.reachable(cfg); err != nil {
		t.Errorf("without a sandbox: %v", err)
	}
	r.rules = &rules
	if err := r.reachable(cfg); err != nil {
		t.Errorf("what was configured at the start: %v", err)
	}
	if got := directories("/missing-by-all-means/deep/file"); len(got) > 0 {
		t.Errorf("a missing directory allows %q", got)
	}
	r.named = map[string]bool{"/missing-by-all-means/secret": true}
	cfg.Gateways[0].Cisco.PasswordFile = "/missing-by-all-means/secret"
	if err := r.reachable(cfg); err != nil {
		t.Errorf("a file that is missing since the start: %v", err)
	}
	cfg.PeerFiles, cfg.Gateways[0].Cisco.CAFile, cfg.Gateways[1].Program = []string{"/srv/peers/*.yml"}, "/srv/ca.pem", "/srv/whack"
	cfg.Peers[0].Partner.KeyFile = "/srv/partner.key"
	err = r.reachable(cfg)
	for _, want := range []string{`peers ("colo"): partner.key_file: /srv/partner.key is outside`, "peer_files: /srv/peers is outside", `gateways ("hub"): ca_file: /srv/ca.pem is outside`, `gateways ("lsw"): program: /srv/whack is outside`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in: %v", want, err)
		}
	}
}
