package ciscoasa

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpus calls f for each output of the commands whose names begin with one of prefixes, as others
// have collected them.
func corpus(t *testing.T, f func(t *testing.T, text string), prefixes ...string) {
	t.Helper()
	root := os.Getenv("IPSEC_CORPUS")
	if root == "" {
		t.Skip("IPSEC_CORPUS names no folder of device outputs")
	}
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, p := range prefixes {
			if strings.HasPrefix(rel, p) {
				n++
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				t.Run(rel, func(t *testing.T) { f(t, string(text)) })
				break
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files, %v", n, err)
	}
}

func TestCorpusIKE(t *testing.T) {
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		got := parseIKE(t.Context(), text)
		if got.unparsed() > 0 {
			t.Errorf("%d lines are not understood", got.unparsed())
		}
		if strings.TrimSpace(text) != "" && !got.recognised {
			t.Error("not recognised")
		}
		for _, sa := range got.sas {
			if sa.State == 0 && sa.VendorState != "ACTIVE" || !sa.Peer.Address.IsValid() && sa.Peer.Name == "" && sa.dst == "" {
				t.Errorf("%+v", sa)
			}
		}
		t.Logf("%d SAs", len(got.sas))
	}, "asa/show_crypto_ike", "handmade/asa_9x_show_crypto", "handmade/asa_pre84_show_crypto", "iosxe/show_crypto_isakmp_sa/", "iosxe/show_crypto_isakmp_sa_detail/", "iosxe/show_crypto_ikev2_sa", "iosxe/show_crypto_ikev2_session")
}

func TestCorpusIPsec(t *testing.T) {
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		got := parseIPsec(t.Context(), text)
		// One line of one file is broken in the middle of a word.
		if got.unparsed() > strings.Count(text, "\n        ekey has been disabled") {
			t.Errorf("%d lines are not understood", got.unparsed())
		}
		if strings.TrimSpace(text) != "" && !got.recognised {
			t.Error("not recognised")
		}
		if want := strings.Count(text, "current_peer"); len(got.entries) != want {
			t.Errorf("%d entries, want %d", len(got.entries), want)
		}
		for _, e := range got.entries {
			if !e.Peer.Address.IsValid() || !e.In.Packets.Known || !e.Out.Packets.Known && strings.Contains(text, "#pkts encaps") || len(e.sas) > 0 && e.PathMTU == 0 {
				t.Errorf("%+v", e)
			}
		}
		t.Logf("%d entries", len(got.entries))
	}, "handmade/asa_show_crypto_ipsec_sa", "ios/show_crypto_ipsec_sa", "iosxe/show_crypto_ipsec_sa/", "iosxe/show_crypto_ipsec_sa_detail", "iosxe/show_crypto_ipsec_sa_interface", "iosxe/show_crypto_ipsec_sa_ipv6", "iosxe/show_crypto_ipsec_sa_peer")
}

func TestCorpusSessions(t *testing.T) {
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		got := parseSessions(t.Context(), text)
		if got.unparsed() > 0 {
			t.Errorf("%d lines are not understood", got.unparsed())
		}
		for _, s := range got.sessions {
			if s.index == "" || !s.in.Bytes.Known || !s.out.Bytes.Known {
				t.Errorf("%+v", s)
			}
		}
		t.Logf("%d sessions, active %v", len(got.sessions), got.active)
	}, "asa/show_vpn-sessiondb", "asa/show_vpn_sessiondb", "ftd/show_vpn-sessiondb", "handmade/asa_show_vpn-sessiondb")
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		got := parseIOSSessions(t.Context(), text)
		if got.unparsed() > 0 {
			t.Errorf("%d lines are not understood", got.unparsed())
		}
		for _, s := range got.sessions {
			if !s.Address.IsValid() || !s.local.IsValid() {
				t.Errorf("%+v", s)
			}
		}
	}, "ios/show_crypto_session", "iosxe/show_crypto_session")
}

func TestCorpusCounters(t *testing.T) {
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		if got := parseStats(t.Context(), text, ""); got.unparsed() > 0 || len(got.counters) == 0 {
			t.Errorf("%+v", got)
		}
	}, "handmade/asa_show_crypto_ipsec_stats", "handmade/asa_show_crypto_isakmp_stats", "handmade/asa_show_crypto_protocol")
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		if got := parseFragments(t.Context(), text); got.unparsed() > 0 || len(got.counters) < 2 {
			t.Errorf("%+v", got)
		}
	}, "handmade/asa_9x_show_fragment", "handmade/asa_pre84_show_fragment")
	corpus(t, func(t *testing.T, text string) {
		t.Helper()
		if p, v := parseVersion(t.Context(), text); (p != platformASA || v == "") && strings.TrimSpace(text) != "" {
			t.Errorf("platform %d, version %q", p, v)
		}
	}, "asa/show_version")
}
