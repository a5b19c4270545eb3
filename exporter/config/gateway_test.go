package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
)

func TestReferenceGateways(t *testing.T) {
	got, err := config.Load("../../examples/reference.yml")
	if err != nil {
		t.Fatal(err)
	}
	const every, limit = config.DefaultGatewayInterval, 20 * time.Second
	want := []config.Gateway{
		{
			Name: "hub", Type: config.CiscoASA, Interval: every, Timeout: limit,
			Cisco: ciscoasa.Config{
				Type: "cisco_asa", Address: "192.0.2.1", Transport: "ssh", Username: "ipsecmon", PasswordFile: "../../examples/hub.password",
				EnablePasswordFile: "../../examples/hub.enable", EnableLevel: 5, Context: "vpn", KnownHostsFile: "../../examples/known_hosts",
			},
		},
		{
			Name: "hub-by-https", Type: config.CiscoASA, Interval: every, Timeout: limit,
			Cisco: ciscoasa.Config{
				Type: "cisco_asa", Address: "asa.example.net:8443", Transport: "https", Username: "ipsecmon", PasswordFile: "../../examples/hub.password",
				CAFile: "../../examples/ca.pem",
			},
		},
		{Name: "charon", Type: config.StrongSwan, Interval: every, Timeout: limit, Socket: "unix:///var/run/charon.vici"},
		{
			Name: "pluto", Type: config.Libreswan, Interval: every, Timeout: limit, Socket: "/run/pluto/pluto.ctl",
			Program: "/usr/libexec/ipsec/whack",
		},
		{Name: "kernel", Type: config.XFRM, Interval: every, Timeout: limit, UnmatchedEach: true},
	}
	if diff := cmp.Diff(want, got.Gateways); diff != "" {
		t.Errorf("gateways (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"../../examples/hub.password", "../../examples/hub.enable"}, []string{got.Gateways[0].Cisco.PasswordFile, got.Gateways[0].Cisco.EnablePasswordFile}); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
}

func TestGatewayForms(t *testing.T) {
	c := parse(t, `
gateways:
  - {name: a, type: cisco_ios, address: "[2001:db8::1]:22", username: u, password_file: /run/p, known_hosts_file: k, enable: login, insecure: }
  - {name: b, type: xfrm, interval: 5s}
  - {name: c, type: openiked, interval: 1s, timeout: 500ms}
modules: {default: {on_demand: true}}
peers: [{address: 203.0.113.10, on_demand: false}, {address: 203.0.113.11, gateways: [c, b]}]
`)
	a, b := c.Gateways[0], c.Gateways[1]
	if !a.Cisco.EnableLogin || a.Cisco.EnableLevel != 0 || a.Cisco.PasswordFile != "/run/p" || a.Cisco.Address != "[2001:db8::1]:22" {
		t.Errorf("gateway a: %+v", a)
	}
	if b.Interval != 5*time.Second || b.Timeout != 5*time.Second {
		t.Errorf("gateway b: %+v", b)
	}
	if c.Peers[0].OnDemand || !c.Peers[1].OnDemand {
		t.Errorf("peers: %+v", c.Peers)
	}
	sockets := parse(t, `
gateways:
  - {name: a, type: strongswan, socket: run/charon.vici}
  - {name: b, type: strongswan, socket: "tcp://[2001:db8::1]:4502"}
  - {name: c, type: libreswan, socket: /run/pluto.ctl}
  - {name: d, type: cisco_asa, address: "2001:db8::1", username: u, password_file: p, known_hosts_file: k}
peers: [{address: 203.0.113.10}]
`).Gateways
	if transport := sockets[3].Cisco.Transport; transport != "ssh" {
		t.Errorf("transport %q, want ssh", transport)
	}
	for i, want := range []string{"run/charon.vici", "tcp://[2001:db8::1]:4502", "/run/pluto.ctl"} {
		if sockets[i].Socket != want {
			t.Errorf("socket %q, want %q", sockets[i].Socket, want)
		}
	}
	again := parse(t, `{gateways: [{name: b, type: xfrm, interval: 5s}], peers: [{address: 203.0.113.10}]}`)
	if b != again.Gateways[0] {
		t.Errorf("the same gateway twice: %+v and %+v", b, again.Gateways[0])
	}
}
