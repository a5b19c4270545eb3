package ikeprobe_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ike"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

var (
	testSPI   = [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	testNonce = []byte("0123456789abcdef0123456789ABCDEF")
	auths     = [...]ikeprobe.Auth{ikeprobe.PSK, ikeprobe.XAUTH, ikeprobe.RSA}
)

// Security associations made by another program, whose messages were tried on strongSwan, Libreswan
// and OpenIKED.
const (
	saBadKE = "020000c401010016" +
		"0300000c0100000c800e0100" + "0300000c0100000c800e00c0" + "0300000c0100000c800e0080" + "0300000801000003" + // AES-CBC, 3DES
		"0300000802000005" + "0300000802000006" + "0300000802000007" + "0300000802000002" + // PRFs
		"030000080300000c" + "030000080300000d" + "030000080300000e" + "0300000803000002" + // integrity
		"030000080400001f" + "0300000804000013" + "0300000804000014" + "0300000804000015" + "030000080400000e" + // groups
		"030000080400000f" + "0300000804000010" + "0300000804000005" + "0300000804000002" + "0000000804000020" +
		"0000009002010010" +
		"0300000c01000014800e0100" + "0300000c01000014800e0080" + // AES-GCM
		"0300000802000005" + "0300000802000006" + "0300000802000007" + "0300000802000002" +
		"030000080400001f" + "0300000804000013" + "0300000804000014" + "0300000804000015" + "030000080400000e" +
		"030000080400000f" + "0300000804000010" + "0300000804000005" + "0300000804000002" + "0000000804000020"
	saNoProp = "0000002801010004" + "0300000801000002" + "0300000802000001" + "0300000803000001" + "0000000804000001"
	saMain   = "0000000100000001" + "0000002c01010001" + "0000002401010000" + "80010001" + "80020001" + "8003%s" + "80040001" + "800b0001" + "000c000400007080"
)

const (
	zeros    = "0000000000000000"
	vendorV1 = "00000017" + "69707365635f706174685f6578706f72746572" // "ipsec_path_exporter"
)

func TestBuildIKEv2(t *testing.T) {
	for _, c := range []struct {
		form              ikeprobe.Form
		version, sa, ke   string
		public, wholeSize int
	}{
		{ikeprobe.V2BadKE, "20", saBadKE, "28000040" + "00200000" + "00", 56, 472},
		{ikeprobe.V2Major3, "30", saBadKE, "28000040" + "00200000" + "00", 56, 472},
		{ikeprobe.V2NoProp, "20", saNoProp, "28000068" + "00010000" + "00", 96, 212},
	} {
		got, err := ikeprobe.Build(c.form, ikeprobe.PSK, testSPI, false, 0, testNonce)
		if err != nil {
			t.Fatalf("%s: %v", c.form, err)
		}
		nonce := "00000024" + hex.EncodeToString(testNonce)
		public := hex.EncodeToString(got[len(got)-36-c.public+1 : len(got)-36])
		want := "0102030405060708" + zeros + "21" + c.version + "2208" + "00000000" + fmt.Sprintf("%08x", c.wholeSize) +
			fmt.Sprintf("2200%04x", 4+len(c.sa)/2) + c.sa + c.ke + public + nonce
		if hex.EncodeToString(got) != want {
			t.Errorf("%s:\n%x, want\n%s", c.form, got, want)
		}
		if strings.Count(public, "00") == c.public-1 || len(got) != c.wholeSize {
			t.Errorf("%s: %d bytes, public value %s", c.form, len(got), public)
		}
	}
}

func TestBuildIKEv1(t *testing.T) {
	for _, c := range []struct {
		form ikeprobe.Form
		auth ikeprobe.Auth
		want string
	}{
		{ikeprobe.V1Main, ikeprobe.PSK, "01100200" + "00000000" + "0000006b" + "0d000038" + fmt.Sprintf(saMain, "0001") + vendorV1},
		{ikeprobe.V1Main, ikeprobe.RSA, "01100200" + "00000000" + "0000006b" + "0d000038" + fmt.Sprintf(saMain, "0003") + vendorV1},
		{ikeprobe.V1Minor, ikeprobe.PSK, "01150200" + "00000000" + "0000006b" + "0d000038" + fmt.Sprintf(saMain, "0001") + vendorV1},
		{
			ikeprobe.V1Main, ikeprobe.XAUTH,
			"01100200" + "00000000" + "00000077" + "0d000038" + fmt.Sprintf(saMain, "fde9") + "0d00000c09002689dfd6b712" + vendorV1,
		},
	} {
		got, err := ikeprobe.Build(c.form, c.auth, testSPI, true, 0, testNonce)
		if want := "00000000" + "0102030405060708" + zeros + c.want; hex.EncodeToString(got) != want || err != nil {
			t.Errorf("%s, %s: %x, %v, want %s", c.form, c.auth, got, err, want)
		}
	}
}

// Every size from the natural one on is met exactly, with a message that is well-formed and has one
// padding payload at most.
func TestBuildEverySize(t *testing.T) {
	for _, form := range ikeprobe.Ladder(ikeprobe.Auto) {
		for _, auth := range auths {
			for _, marker := range []bool{false, true} {
				natural := ikeprobe.Size(form, auth, marker)
				sizes := []int{1300, 1400, 1472, 2972, 9000, 65506, 65507}
				for n := range 300 {
					sizes = append(sizes, natural+n)
				}
				for _, size := range sizes {
					checkProbe(t, form, auth, marker, size)
				}
				for _, size := range []int{-1, 1, natural - 1} {
					if b, err := ikeprobe.Build(form, auth, testSPI, marker, size, testNonce); !errors.Is(err, ikeprobe.ErrTooSmall) || b != nil {
						t.Errorf("%s, %d bytes: %v", form, size, err)
					}
				}
				if _, err := ikeprobe.Build(form, auth, testSPI, marker, 65508, testNonce); !errors.Is(err, ikeprobe.ErrTooLarge) {
					t.Errorf("%s, 65508 bytes: %v", form, err)
				}
			}
		}
	}
}

func checkProbe(tb testing.TB, form ikeprobe.Form, auth ikeprobe.Auth, marker bool, size int) {
	tb.Helper()
	b, err := ikeprobe.Build(form, auth, testSPI, marker, size, testNonce)
	if err != nil || len(b) != size {
		tb.Fatalf("%s, %s, marker %t, %d bytes: made %d, %v", form, auth, marker, size, len(b), err)
	}
	if marker {
		if !bytes.Equal(b[:4], make([]byte, 4)) {
			tb.Fatalf("marker is %x", b[:4])
		}
		b = b[4:]
	}
	m, err := ike.ParseMessage(b)
	if err != nil || int(m.Header.Length) != len(b) || m.Size() != len(b) {
		tb.Fatalf("%s, %d bytes: %+v, %v", form, size, m.Header, err)
	}
	if m.Header.InitiatorSPI != testSPI || m.Header.ResponderSPI != [8]byte{} || m.Header.MessageID != 0 {
		tb.Fatalf("%s, %d bytes: header %+v", form, size, m.Header)
	}
	padding := 0
	for _, p := range m.Payloads {
		switch {
		case p.Type == ike.PayloadNonce && (len(p.Body) < 32 || len(p.Body) > 256 || !bytes.HasPrefix(p.Body, testNonce)):
			tb.Fatalf("%s, %d bytes: nonce %x", form, size, p.Body)
		case bytes.HasPrefix(p.Body, []byte("ipsec_path_exporter")):
			padding++
		}
	}
	if padding > 1 {
		tb.Fatalf("%s, %d bytes: %d paddings", form, size, padding)
	}
}

func TestBuildIsDeterministic(t *testing.T) {
	build := func(nonce []byte) []byte {
		b, err := ikeprobe.Build(ikeprobe.V2BadKE, ikeprobe.PSK, testSPI, false, 1400, nonce)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := build(testNonce)
	if !bytes.Equal(first, build(testNonce)) {
		t.Error("the same arguments make other bytes")
	}
	long := append(bytes.Clone(testNonce), make([]byte, 300)...)
	for _, nonce := range [][]byte{bytes.Repeat([]byte{1}, 32), long} {
		before := bytes.Clone(nonce)
		if bytes.Equal(first, build(nonce)) {
			t.Errorf("nonce %x makes the same bytes", nonce)
		}
		if _, err := ikeprobe.Build(ikeprobe.V2BadKE, ikeprobe.PSK, testSPI, false, 473, nonce[:32]); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(before, nonce) {
			t.Error("the nonce of the caller was changed")
		}
	}
}

// A link that compresses must not make a probe smaller than its size.
func TestBuildPaddingIsNotRegular(t *testing.T) {
	b, err := ikeprobe.Build(ikeprobe.V1Main, ikeprobe.PSK, testSPI, false, 1400, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	var count [256]int
	for _, c := range b[len(b)-1024:] {
		count[c]++
	}
	for c, n := range count {
		if n > 32 { // 4 are expected
			t.Errorf("byte %02x stands %d times in 1024 bytes of padding", c, n)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	if _, err := ikeprobe.Build(ikeprobe.V2BadKE, ikeprobe.PSK, testSPI, false, 0, testNonce[:31]); !errors.Is(err, ikeprobe.ErrShortNonce) {
		t.Errorf("31 bytes of nonce: %v", err)
	}
	if _, err := ikeprobe.Build(ikeprobe.V2BadKE, ikeprobe.PSK, [8]byte{}, false, 0, testNonce); !errors.Is(err, ikeprobe.ErrZeroSPI) {
		t.Errorf("SPI 0: %v", err)
	}
	if _, err := ikeprobe.Build(99, ikeprobe.PSK, testSPI, false, 0, testNonce); !errors.Is(err, ikeprobe.ErrUnknownForm) {
		t.Errorf("form 99: %v", err)
	}
	if got := ikeprobe.Size(99, ikeprobe.PSK, true); got != 0 {
		t.Errorf("form 99 has %d bytes", got)
	}
}

func FuzzBuild(f *testing.F) {
	f.Add(uint8(0), uint8(0), false, 1472, testNonce)
	f.Add(uint8(3), uint8(1), true, 120, testNonce)
	f.Fuzz(func(t *testing.T, form, auth uint8, marker bool, size int, nonce []byte) {
		fm, a := ikeprobe.Form(form), ikeprobe.Auth(auth)
		b, err := ikeprobe.Build(fm, a, testSPI, marker, size, nonce)
		natural := ikeprobe.Size(fm, a, marker)
		valid := natural > 0 && len(nonce) >= 32 && (size == 0 || size >= natural && size <= 65507)
		if valid != (err == nil) {
			t.Fatalf("%s, %d bytes, nonce of %d: %v", fm, size, len(nonce), err)
		}
		if err == nil && size == 0 {
			size = natural
		}
		if err == nil && len(b) != size {
			t.Fatalf("%s: %d bytes instead of %d", fm, len(b), size)
		}
		if _, err := ikeprobe.Classify(b, testSPI, marker); valid && !errors.Is(err, ikeprobe.ErrReflected) {
			t.Fatalf("%s: the probe itself is taken for a reply: %v", fm, err)
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, form := range []ikeprobe.Form{ikeprobe.V2BadKE, ikeprobe.V1Main} {
		for _, size := range []int{0, 1472} {
			b.Run(fmt.Sprintf("%s/%d", form, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := ikeprobe.Build(form, ikeprobe.PSK, testSPI, false, size, testNonce); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
