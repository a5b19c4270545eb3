package ipsec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/wire/ipsec"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestESP(t *testing.T) {
	b := unhex(t, "deadbeef00000001"+"cafe")
	for n := range 8 {
		if _, _, err := ipsec.ParseESP(b[:n]); !errors.Is(err, ipsec.ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	h, rest, err := ipsec.ParseESP(b)
	if want := (ipsec.ESP{SPI: 0xdeadbeef, Seq: 1}); err != nil || h != want || !bytes.Equal(rest, []byte{0xca, 0xfe}) {
		t.Errorf("got %+v, %x, %v", h, rest, err)
	}
	if got := h.Append(nil); !bytes.Equal(got, b[:8]) {
		t.Errorf("appended %x", got)
	}
}

func TestAH(t *testing.T) {
	b := unhex(t, "32040000"+"deadbeef"+"00000001"+"0102030405060708090a0b0c"+"cafe")
	for n := range b {
		h, rest, err := ipsec.ParseAH(b[:n])
		if n < 12 {
			if !errors.Is(err, ipsec.ErrTruncated) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		want := ipsec.AH{NextHeader: 50, SPI: 0xdeadbeef, Seq: 1, ICV: b[12:min(n, 24)]}
		if diff := cmp.Diff(want, h); diff != "" || err != nil {
			t.Errorf("%d bytes: %v %s", n, err, diff)
		}
		if !bytes.Equal(rest, b[min(n, 24):n]) {
			t.Errorf("%d bytes: rest %x", n, rest)
		}
		if got := h.Append(nil); n >= 24 && !bytes.Equal(got, b[:24]) {
			t.Errorf("appended %x", got)
		}
	}
	b[1] = 0
	if _, _, err := ipsec.ParseAH(b); !errors.Is(err, ipsec.ErrMalformed) {
		t.Errorf("length of 8 bytes: %v", err)
	}
}

func TestDecapsulate(t *testing.T) {
	for in, want := range map[string]struct {
		kind ipsec.Encapsulated
		rest string
	}{
		"ff":               {ipsec.EncapsulatedKeepalive, "ff"},
		"00000000":         {ipsec.EncapsulatedIKE, ""},
		"00000000cafe":     {ipsec.EncapsulatedIKE, "cafe"},
		"0000000100000001": {ipsec.EncapsulatedESP, "0000000100000001"},
		"ffffffffffffffff": {ipsec.EncapsulatedESP, "ffffffffffffffff"},
		"":                 {ipsec.EncapsulatedOther, ""},
		"00":               {ipsec.EncapsulatedOther, "00"},
		"ffff":             {ipsec.EncapsulatedOther, "ffff"},
		"000000":           {ipsec.EncapsulatedOther, "000000"},
		"00000001000000":   {ipsec.EncapsulatedOther, "00000001000000"},
	} {
		kind, rest := ipsec.Decapsulate(unhex(t, in))
		if kind != want.kind || hex.EncodeToString(rest) != want.rest {
			t.Errorf("%q: %d, %x, want %d, %s", in, kind, rest, want.kind, want.rest)
		}
	}
}

// The figures agree with an independent implementation of ESP and with a vendor's calculator.
func TestTunnelMTUTable(t *testing.T) {
	type path struct {
		mtu      int
		v6, natt bool
	}
	paths := []path{{1500, false, false}, {1500, false, true}, {1500, true, false}, {1492, false, false}, {1400, false, false}, {1400, false, true}}
	for names, want := range map[[2]string][6]int{
		{"aes-cbc-sha1", "aes-cbc-md5"}:      {1438, 1422, 1422, 1422, 1342, 1326},
		{"aes-cbc-sha256", "aes-cbc-sha256"}: {1438, 1422, 1406, 1422, 1326, 1326},
		{"aes-cbc-sha512", "aes-cbc-sha512"}: {1422, 1406, 1390, 1406, 1310, 1310},
		{"3des-md5", "3des-sha1"}:            {1446, 1438, 1430, 1438, 1350, 1342},
		{"aes-gcm-16", "chacha20-poly1305"}:  {1446, 1438, 1426, 1438, 1346, 1338},
	} {
		for _, name := range names {
			c, ok := ipsec.CipherByName(name)
			if !ok {
				t.Fatalf("%s is not known", name)
			}
			for i, p := range paths {
				got := c.TunnelMTU(p.mtu, p.v6, p.natt)
				if got != want[i] {
					t.Errorf("%s, %+v: %d, want %d", name, p, got, want[i])
				}
				if mss := ipsec.MSS(got, false); mss != want[i]-40 {
					t.Errorf("%s, %+v: MSS %d, want %d", name, p, mss, want[i]-40)
				}
			}
		}
	}
}

// outer is the size of the packet that an ESP tunnel makes of an inner one (RFC 4303, section 2),
// independently of TunnelMTU.
func outer(c ipsec.Cipher, inner int, v6, natt bool) int {
	padded := inner + 2
	for padded%max(c.Block, 4) != 0 {
		padded++
	}
	size := 20 + 8 + c.IV + padded + c.ICV
	if v6 {
		size += 20
	}
	if natt {
		size += 8
	}
	return size
}

func TestTunnelMTUInverse(t *testing.T) {
	for _, name := range ipsec.CipherNames() {
		c, _ := ipsec.CipherByName(name)
		for _, v6 := range []bool{false, true} {
			for _, natt := range []bool{false, true} {
				for mtu := 576; mtu <= 1500; mtu++ {
					inner := c.TunnelMTU(mtu, v6, natt)
					if fits, over := outer(c, inner, v6, natt), outer(c, inner+1, v6, natt); fits > mtu || over <= mtu {
						t.Fatalf("%s, v6 %t, natt %t, path %d: %d bytes make %d, one more makes %d", name, v6, natt, mtu, inner, fits, over)
					}
				}
			}
		}
	}
}

// A published example: AES with SHA-1, 100 bytes, make 168.
func TestOuterExample(t *testing.T) {
	c, _ := ipsec.CipherByName("aes-cbc-sha1")
	if got := outer(c, 100, false, false); got != 168 {
		t.Errorf("%d, want 168", got)
	}
}

func TestTunnelMTUNothingFits(t *testing.T) {
	for _, name := range ipsec.CipherNames() {
		c, _ := ipsec.CipherByName(name)
		for mtu := range 70 {
			if got := c.TunnelMTU(mtu, true, true); got < 0 || got > 0 && outer(c, got, true, true) > mtu {
				t.Errorf("%s, path %d: %d", name, mtu, got)
			}
		}
	}
	for in, want := range map[int]int{0: 0, 40: 0, 41: 1, 59: 19} {
		if got := ipsec.MSS(in, false); got != want {
			t.Errorf("MSS of %d is %d, want %d", in, got, want)
		}
	}
	if got := ipsec.MSS(1438, true); got != 1378 {
		t.Errorf("MSS over IPv6 is %d, want 1378", got)
	}
}

func TestCipherNames(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range ipsec.CipherNames() {
		c, ok := ipsec.CipherByName(name)
		if !ok || c.Name != name || seen[name] {
			t.Errorf("%s: %+v, %t, seen before %t", name, c, ok, seen[name])
		}
		seen[name] = true
	}
	for _, enc := range []string{"aes-cbc", "3des", "null"} {
		for integrity, icv := range map[string]int{"md5": 12, "sha1": 12, "sha256": 16, "sha384": 24, "sha512": 32} {
			if c, ok := ipsec.CipherByName(enc + "-" + integrity); !ok || c.ICV != icv {
				t.Errorf("%s-%s: %+v, %t", enc, integrity, c, ok)
			}
		}
	}
	if c, ok := ipsec.CipherByName("rot13"); ok || c != (ipsec.Cipher{}) {
		t.Errorf("rot13 is %+v", c)
	}
}

func FuzzIPsec(f *testing.F) {
	f.Add(unhex(f, "32040000deadbeef000000010102030405060708090a0b0ccafe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, rest, err := ipsec.ParseAH(b); err == nil && 12+len(h.ICV)+len(rest) != len(b) {
			t.Fatalf("AH of %d bytes: %+v and %d bytes", len(b), h, len(rest))
		}
		if h, rest, err := ipsec.ParseESP(b); err == nil && !bytes.Equal(append(h.Append(nil), rest...), b) {
			t.Fatalf("ESP came back as %+v", h)
		}
		if kind, rest := ipsec.Decapsulate(b); kind != ipsec.EncapsulatedIKE && !bytes.Equal(rest, b) {
			t.Fatalf("%d changed", kind)
		}
	})
}

func ExampleCipher_TunnelMTU() {
	c, _ := ipsec.CipherByName("aes-gcm-16")
	mtu := c.TunnelMTU(1400, false, true)
	fmt.Println(mtu, ipsec.MSS(mtu, false))
	// Output: 1338 1298
}
