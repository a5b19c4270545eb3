package tunnelmtu_test

import (
	"testing"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/exporter/tunnelmtu"
	"ipsec_path_exporter/internal/wire/ipsec"
)

func result(m collectors.Method, s search.State, bytes int) pmtu.Result {
	return pmtu.Result{Method: m, State: s, Bytes: bytes}
}

func TestPathMTU(t *testing.T) {
	icmp, ike, natt := collectors.ICMP, collectors.IKE, collectors.NATT
	for _, tt := range []struct {
		name    string
		results []pmtu.Result
		want    int
	}{
		{"nothing", nil, 0},
		{"the smallest of IKE", []pmtu.Result{result(ike, search.Clean, 1500), result(natt, search.Clean, 1492)}, 1492},
		{
			"a black hole that is larger than another path",
			[]pmtu.Result{result(ike, search.Reduced, 1300), result(natt, search.BlackHole, 1400)},
			1300,
		},
		{"IKE before a smaller echo", []pmtu.Result{result(icmp, search.BlackHole, 1400), result(ike, search.Clean, 1500)}, 1500},
		{"an echo alone", []pmtu.Result{result(icmp, search.Reduced, 1400), result(ike, search.Unreachable, 0)}, 1400},
		{"a lower bound is no path MTU", []pmtu.Result{result(ike, search.Inconclusive, 1200), result(natt, search.Clean, 1500)}, 1500},
	} {
		if got := tunnelmtu.PathMTU(tt.results); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestOver(t *testing.T) {
	cipher, _ := ipsec.CipherByName("aes-cbc-sha1")
	udp := tunnelmtu.ESP{Cipher: cipher, UDP: true}
	if s := udp.Over(1500); s == nil || s.MTUBytes != 1422 || s.MSSBytes != 1382 || s.PathBytes != 1500 || s.Encapsulation() != "udp" {
		t.Errorf("settings %+v", s)
	}
	for _, bytes := range []int{0, 60} {
		if s := udp.Over(bytes); s != nil {
			t.Errorf("a tunnel over %d bytes: %+v", bytes, s)
		}
	}
}
