package demo

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
)

// TestHub: the reader of real devices, as the demo configures it, reads the hub over HTTPS and
// understands all of it.
func TestHub(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	all := slices.DeleteFunc(peers(), func(p peer) bool { return p.tunnel == tunnel{} })
	addresses := []string{"192.0.2.11", "192.0.2.12", "192.0.2.13"}
	h := newHub(all, addresses)
	h.began = h.began.Add(-time.Minute)
	at, err := startHub(ctx, h, filepath.Join(t.TempDir(), "hub"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("demo", configuration(all, addresses, at))
	if err != nil {
		t.Fatal(err)
	}
	source := ciscoasa.New(cfg.Gateways[0].Cisco)
	defer source.Close()
	table, err := source.Read(t.Context())
	if err != nil || table.Unparsed > 0 || len(table.Doubts) > 0 || table.Info.Type != "cisco_asa" {
		t.Fatalf("%v, %d lines not parsed, such as %q, doubts %v, type %q", err, table.Unparsed, table.FirstUnparsed, table.Doubts, table.Info.Type)
	}
	want := map[string]string{
		"healthy": "established MM_ACTIVE, path MTU 1500", "tunnel-oversized": "established MM_ACTIVE, path MTU 1500",
		"negotiation-stuck": "modecfg AM_TM_INIT_MODECFG_V6H",
	}
	got := make(map[string]string)
	name := func(id *gateways.Identity) string { return all[slices.Index(addresses, id.Address.String())].name }
	for i := range table.IKE {
		sa := &table.IKE[i]
		got[name(&sa.Peer)] = sa.State.String() + " " + sa.VendorState
	}
	for i := range table.Children {
		c := &table.Children[i]
		if c.In.Packets.Value < 60*traffic || c.Out.Packets.Value < 60*traffic || c.NATT != gateways.Yes {
			t.Errorf("after a minute the tunnel of %s has carried %+v and %+v, in UDP: %v", name(&c.Peer), c.In, c.Out, c.NATT)
		}
		got[name(&c.Peer)] += ", path MTU 1500"
		if c.PathMTU != 1500 {
			t.Errorf("%s has a path MTU of %d", name(&c.Peer), c.PathMTU)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SAs (-want +got):\n%s", diff)
	}
	wrong := cfg.Gateways[0].Cisco
	wrong.Username = "guest"
	stranger := ciscoasa.New(wrong)
	defer stranger.Close()
	if _, err := stranger.Read(t.Context()); !errors.Is(err, ciscoasa.ErrLogin) {
		t.Errorf("another user: %v", err)
	}
	end()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := source.Read(t.Context()); err != nil {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the hub does not end with the demo")
		}
	}
}

// TestHubRefuses: the hub refuses what it does not know, and nothing leads out of its outputs.
func TestHubRefuses(t *testing.T) {
	h := newHub(nil, nil)
	for _, command := range []string{"reload", "show running-config", "", "hub", "../hub/show-version"} {
		if text, known, err := h.answer(command, time.Now()); known || err != nil {
			t.Errorf("%q: %q, %v", command, text, err)
		}
	}
	if text, known, err := h.answer("show version", time.Now()); !known || err != nil || !strings.Contains(string(text), "Software Version 9") {
		t.Errorf("version: %q, %t, %v", text, known, err)
	}
}
