package partners_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/session"
)

// scapy is the Python with Scapy, whose STAMP packets were written by others from the RFCs
// (scapy.contrib.stamp, unauthenticated mode).
const scapy = "/usr/bin/python3"

func needScapy(t *testing.T) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), scapy, "-c", "import scapy.contrib.stamp").Run(); err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("no Scapy: %v (install python3-scapy)", err)
		}
		t.Skipf("no Scapy: %v (install python3-scapy)", err)
	}
}

// preamble reads a datagram as Scapy does.
const preamble = `
import json, socket, struct, sys, time
from scapy.layers.inet import UDP
from scapy.contrib.stamp import *
EPOCH = 2208988800
def dissect(data, sport, dport):
    return UDP(struct.pack('!HHHH', sport, dport, 8 + len(data), 0) + data)
`

// reflectorScript is a stateful Session-Reflector that loses every fifth request before it counts
// it.
const reflectorScript = preamble + `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 862))
print('ready', flush=True)
n = seen = 0
while True:
    data, peer = s.recvfrom(9000)
    now = time.time() + EPOCH
    seen += 1
    if seen % 5 == 0:
        continue
    q = dissect(data, peer[1], 862)[STAMPSessionSenderTestUnauthenticated]
    r = bytearray(bytes(STAMPSessionReflectorTestUnauthenticated(
        seq=n, ts=now, err_estimate=ErrorEstimate(S=1, Z=0, scale=15, multiplier=3), ssid=q.ssid, ts_rx=now,
        seq_sender=q.seq, err_estimate_sender=q.err_estimate, ttl_sender=61)))
    r[28:36] = data[4:12] # Scapy's decimals do not repeat a time stamp to the bit
    n += 1
    s.sendto(bytes(r), peer)
`

// senderScript is a Session-Sender: three requests, and what their replies say.
const senderScript = preamble + `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((sys.argv[1], int(sys.argv[2])))
out = []
for i in range(3):
    sent = time.time() + EPOCH
    s.send(bytes(STAMPSessionSenderTestUnauthenticated(seq=100+i, ts=sent, err_estimate=ErrorEstimate(S=0, Z=0, scale=20, multiplier=7), ssid=77)))
    data = s.recv(9000)
    r = dissect(data, 862, 40000)[STAMPSessionReflectorTestUnauthenticated]
    out.append(dict(size=len(data), seq=r.seq, ssid=r.ssid, sender=r.seq_sender, scale=r.err_estimate_sender.scale, multiplier=r.err_estimate_sender.multiplier,
        z=r.err_estimate.Z, ttl=r.ttl_sender, there=float(r.ts_rx) - sent, turn=float(r.ts) - float(r.ts_rx), echo=abs(float(r.ts_sender) - sent)))
print(json.dumps(out))
`

// TestScapyReflector: our sender with a reflector that others wrote, which counts: a loss has a
// direction.
func TestScapyReflector(t *testing.T) {
	t.Parallel()
	needScapy(t)
	p := config.Partner{Mode: config.PartnerUnauthenticated}
	l := newEnds(t, p, p)
	var lines *bufio.Scanner
	l.Server.Do(t, func() {
		c := exec.CommandContext(t.Context(), scapy, "-c", reflectorScript)
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = bufio.NewScanner(out)
		t.Cleanup(func() { _ = c.Wait() }) // the end of the test has ended it
	})
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the reflector says %q", lines.Text())
	}
	var r partner.Result
	for range 5 {
		r = l.round(t, false)
	}
	// 50 requests, of which every fifth is lost there; one may be open at either end.
	if r.State != partner.Up || r.Received != 8 || r.Counts.Sent != 50 || r.Counts.LostThere < 8 || r.Counts.LostThere > 10 || r.Counts.LostBack != 0 || !r.OneWay {
		t.Errorf("%+v", r)
	}
	if r.RoundTrip <= 0 || r.RoundTrip > time.Second || r.There.DelayKnown {
		t.Errorf("%+v", r)
	}
}

// TestScapySender: a sender that others wrote with our reflector.
func TestScapySender(t *testing.T) {
	t.Parallel()
	needScapy(t)
	p := config.Partner{Mode: config.PartnerUnauthenticated, Port: session.Port}
	l := newLab(t, p, p)
	var out []byte
	l.Client.Do(t, func() {
		var err error
		if out, err = exec.CommandContext(t.Context(), scapy, "-c", senderScript, l.ServerAddr(false).String(), "10862").Output(); err != nil {
			t.Fatal(err)
		}
	})
	var replies []struct {
		Size, Seq, SSID, Sender, Scale, Multiplier, Z, TTL int
		There, Turn, Echo                                  float64
	}
	if err := json.Unmarshal(out, &replies); err != nil || len(replies) != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	for i, r := range replies {
		if r.Size != 44 || r.Seq != 100+i || r.Sender != 100+i || r.SSID != 77 || r.Scale != 20 || r.Multiplier != 7 || r.Z != 0 || r.TTL != 61 {
			t.Errorf("%+v", r)
		}
		if r.There < -0.01 || r.There > 1 || r.Turn < 0 || r.Turn > 1 || r.Echo > 1e-5 {
			t.Errorf("times of %+v", r)
		}
	}
}
