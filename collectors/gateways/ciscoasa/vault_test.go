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
		v := &vault{config: &Config{PasswordFile: file, LoginRetry: DefaultLoginRetry}}
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
			leaks(t, v.refuse(s, "no"))
			v.refusals-- // Only looked at.
			v.until = time.Now().Add(time.Second)
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
		v.accept()
		if err := os.WriteFile(file, []byte("two\nlines"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := v.open(); err == nil {
			t.Error("a file of two lines is a secret")
		}
	})
}

func TestErrorsShowNoSecrets(t *testing.T) {
	v := &vault{current: secrets{password: goodPassword, enable: goodEnable}}
	err := v.scrub(errors.Join(ErrLogin, errors.New("it said "+goodPassword+" and "+goodEnable)))
	if leaks(t, err); !errors.Is(err, ErrLogin) {
		t.Errorf("%v", err)
	}
	leaks(t, v.scrub(errors.New("it said "+goodEnable)))
}
