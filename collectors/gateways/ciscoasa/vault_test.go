package ciscoasa

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefusedSecretsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := secretFile(t, badPassword)
		v := &vault{config: &Config{PasswordFile: file, LoginRetry: DefaultLoginRetry}, refusals: &Refusals{}}
		for i, wait := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
			s, err := v.open()
			if err != nil {
				t.Fatalf("attempt %d: %v", i, err)
			}
			if err := v.refuse(s, "no"); !errors.Is(err, ErrLogin) {
				t.Errorf("attempt %d: %v", i, err)
			}
			time.Sleep(wait - time.Second)
			if _, err := v.open(); !errors.Is(err, ErrLogin) {
				t.Errorf("attempt %d: tried again too early: %v", i, err)
			}
			time.Sleep(2 * time.Second)
		}
		s, err := v.open()
		if err != nil {
			t.Fatal(err)
		}
		leaks(t, v.refuse(s, "no"))
		if err := os.WriteFile(file, []byte(goodPassword), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := v.open(); err != nil {
			t.Errorf("other secrets wait too: %v", err)
		}
		v.accept(s)
		if err := os.WriteFile(file, []byte("two\nlines"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := v.open(); err == nil {
			t.Error("a file of two lines is a secret")
		}
	})
}

func TestErrorsShowNoSecrets(t *testing.T) {
	v := &vault{config: &Config{Username: "u"}, current: secrets{password: goodPassword, enable: goodEnable}}
	err := v.scrub(errors.Join(ErrLogin, errors.New("it said "+goodPassword+" and "+goodEnable)))
	if leaks(t, err); !errors.Is(err, ErrLogin) {
		t.Errorf("%v", err)
	}
	leaks(t, v.scrub(errors.New("it said "+goodEnable)))
}

// TestRefusalsAreShared: a source that is made again knows what the one before it was told, and no
// other login is held up.
func TestRefusalsAreShared(t *testing.T) {
	device := newFake()
	device.listen(t)
	c := device.config(t)
	c.PasswordFile, c.Refusals = secretFile(t, badPassword), &Refusals{}
	for range 3 {
		s := open(t, c)
		if _, err := read(t, s); !errors.Is(err, ErrLogin) {
			t.Fatalf("%v", err)
		}
		s.Close()
	}
	if attempts, _, _ := device.seen(); len(attempts) != 1 {
		t.Errorf("%d attempts", len(attempts))
	}
	good := c
	good.PasswordFile = secretFile(t, goodPassword)
	if _, err := read(t, open(t, good)); err != nil {
		t.Error(err)
	}
	// That another login was taken does not send the refused one again.
	if _, err := read(t, open(t, c)); !errors.Is(err, ErrLogin) {
		t.Errorf("%v", err)
	}
	if attempts, _, _ := device.seen(); len(attempts) != 3 { // refused, taken, enable
		t.Errorf("%d attempts", len(attempts))
	}
}
