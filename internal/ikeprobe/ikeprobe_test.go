package ikeprobe_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/internal/ikeprobe"
)

func TestNames(t *testing.T) {
	for form, want := range map[ikeprobe.Form]string{
		ikeprobe.V2BadKE: "v2-badke", ikeprobe.V2Major3: "v2-major3", ikeprobe.V2NoProp: "v2-noprop",
		ikeprobe.V1Main: "v1-main", ikeprobe.V1Minor: "v1-minor", 99: "unknown",
	} {
		if form.String() != want {
			t.Errorf("form %d is %s, want %s", form, form, want)
		}
	}
	for version, want := range map[ikeprobe.Version]string{ikeprobe.Auto: "auto", ikeprobe.V1: "1", ikeprobe.V2: "2"} {
		if got := version.String(); got != want {
			t.Errorf("version %d is %s, want %s", version, got, want)
		}
	}
	for auth, want := range map[ikeprobe.Auth]string{ikeprobe.PSK: "psk", ikeprobe.XAUTH: "xauth", ikeprobe.RSA: "rsa"} {
		if got := auth.String(); got != want {
			t.Errorf("auth %d is %s, want %s", auth, got, want)
		}
	}
}

func TestLadder(t *testing.T) {
	for version, want := range map[ikeprobe.Version][]ikeprobe.Form{
		ikeprobe.Auto: {ikeprobe.V2BadKE, ikeprobe.V2Major3, ikeprobe.V2NoProp, ikeprobe.V1Main, ikeprobe.V1Minor},
		ikeprobe.V2:   {ikeprobe.V2BadKE, ikeprobe.V2Major3, ikeprobe.V2NoProp},
		ikeprobe.V1:   {ikeprobe.V1Main, ikeprobe.V1Minor},
	} {
		got := ikeprobe.Ladder(version)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
		for _, form := range got {
			if version != ikeprobe.Auto && form.Version() != version {
				t.Errorf("%s is of version %s, not %s", form, form.Version(), version)
			}
		}
	}
}

func TestDialect(t *testing.T) {
	d := ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.XAUTH)
	expect := func(step string, form ikeprobe.Form, answered bool) {
		t.Helper()
		if d.Form() != form || d.Answered() != answered {
			t.Errorf("%s: %s, answered %t, want %s, %t", step, d.Form(), d.Answered(), form, answered)
		}
	}
	expect("at first", ikeprobe.V2BadKE, false)
	for _, form := range append(ikeprobe.Ladder(ikeprobe.Auto)[1:], ikeprobe.V2BadKE) {
		d.Advance()
		expect("walking", form, false)
	}
	d.Advance()
	d.Confirm(ikeprobe.V2Major3)
	expect("answered", ikeprobe.V2Major3, true)
	d.Confirm(ikeprobe.V2BadKE)
	expect("late answer to an earlier form", ikeprobe.V2BadKE, true)
	d.Confirm(99)
	expect("answer to no form of the ladder", ikeprobe.V2BadKE, true)
	d.Advance()
	expect("on from an answered form", ikeprobe.V2Major3, false)
	d.Confirm(ikeprobe.V1Main)
	d.Reset()
	expect("reset", ikeprobe.V2BadKE, false)
	if d.Auth() != ikeprobe.XAUTH {
		t.Errorf("auth is %s", d.Auth())
	}
}

func TestDialectKeepsToItsVersion(t *testing.T) {
	d := ikeprobe.NewDialect(ikeprobe.V1, ikeprobe.PSK)
	d.Confirm(ikeprobe.V2BadKE)
	if d.Answered() || d.Form() != ikeprobe.V1Main {
		t.Errorf("%s, answered %t", d.Form(), d.Answered())
	}
}

func TestDialectConcurrently(t *testing.T) {
	d := ikeprobe.NewDialect(ikeprobe.V2, ikeprobe.PSK)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				d.Advance()
				if !slices.Contains(ikeprobe.Ladder(ikeprobe.V2), d.Form()) {
					t.Errorf("%s is not on the ladder", d.Form())
				}
				d.Confirm(ikeprobe.V2NoProp)
				d.Answered()
				d.Reset()
			}
		})
	}
	group.Wait()
}

func TestKeyring(t *testing.T) {
	k, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		peer, method string
		form         ikeprobe.Form
		size         int
	}
	seen := map[[8]byte]key{}
	for _, peer := range []string{"", "a", "ab", "hq"} {
		for _, method := range []string{"", "b", "bc", "ike", "natt"} {
			for _, form := range ikeprobe.Ladder(ikeprobe.Auto) {
				for _, size := range []int{0, 1, 256, 1472, 65507} {
					now := key{peer, method, form, size}
					spi := k.SPI(peer, method, form, size)
					if before, twice := seen[spi]; twice || spi == ([8]byte{}) {
						t.Fatalf("%+v and %+v have the same SPI %x", before, now, spi)
					}
					if again := k.SPI(peer, method, form, size); again != spi {
						t.Fatalf("%+v has %x, then %x", now, spi, again)
					}
					seen[spi] = now
				}
			}
		}
	}
	other, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	if _, same := seen[other.SPI("hq", "ike", ikeprobe.V2BadKE, 1472)]; same {
		t.Error("two keyrings have the same secret")
	}
}

func TestNonce(t *testing.T) {
	k, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	a, b := make([]byte, 32), make([]byte, 32)
	k.Nonce(a)
	k.Nonce(b)
	if bytes.Equal(a, b) || bytes.Equal(a, make([]byte, 32)) {
		t.Errorf("%x and %x", a, b)
	}
}

// TestDropNeverComesBack: a form whose offer was accepted is not sent again, whatever happens.
func TestDropNeverComesBack(t *testing.T) {
	d := ikeprobe.NewDialect(ikeprobe.V2, ikeprobe.PSK)
	d.Confirm(ikeprobe.V2BadKE)
	d.Drop(ikeprobe.V2BadKE)
	if d.Form() != ikeprobe.V2Major3 || d.Answered() {
		t.Errorf("after the drop: %s, answered %t", d.Form(), d.Answered())
	}
	d.Confirm(ikeprobe.V2BadKE)
	d.Reset()
	for range 5 {
		if d.Form() == ikeprobe.V2BadKE {
			t.Fatal("the dropped form is back")
		}
		d.Advance()
	}
	d.Drop(ikeprobe.V2Major3)
	d.Drop(ikeprobe.V2NoProp)
	if got := d.Ladder(); len(got) != 0 || d.Allows(d.Form()) {
		t.Errorf("ladder %v, %s allowed: %t", got, d.Form(), d.Allows(d.Form()))
	}
	d.Confirm(ikeprobe.V2NoProp)
	d.Advance()
	if d.Answered() || d.Allows(d.Form()) {
		t.Error("the last form is back")
	}
}

func TestAllows(t *testing.T) {
	d := ikeprobe.NewDialect(ikeprobe.V1, ikeprobe.PSK)
	d.Drop(ikeprobe.V2BadKE) // another version's
	for _, step := range []struct {
		drop        ikeprobe.Form
		main, minor bool
	}{{ikeprobe.V1Main, false, true}, {ikeprobe.V1Minor, false, false}} {
		d.Drop(step.drop)
		if main, minor := d.Allows(ikeprobe.V1Main), d.Allows(ikeprobe.V1Minor); main != step.main || minor != step.minor {
			t.Errorf("without %s: main %t, minor %t", step.drop, main, minor)
		}
	}
	if d.Allows(ikeprobe.V2BadKE) {
		t.Error("a form of another version is allowed")
	}
}
