package ciscoasa

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys checks the key of one host against a known_hosts file.
type hostKeys struct {
	check ssh.HostKeyCallback
	// algorithms belong to the known keys. Without them, a device with several keys could show
	// one that is not in the file.
	algorithms []string
}

func trust(file, address string) (*hostKeys, error) {
	check, err := knownhosts.New(file)
	if err != nil {
		return nil, fmt.Errorf("reading known hosts: %w", err)
	}
	k := &hostKeys{check: func(host string, remote net.Addr, key ssh.PublicKey) error {
		return explain(check(host, remote, key), key)
	}}
	// The check of a key that cannot be right returns an error that names the right ones.
	probe, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil, err
	}
	if known, ok := errors.AsType[*knownhosts.KeyError](check(address, &net.TCPAddr{}, probe)); ok {
		for _, w := range known.Want {
			for _, a := range algorithmsOf(w.Key.Type()) {
				if !slices.Contains(k.algorithms, a) {
					k.algorithms = append(k.algorithms, a)
				}
			}
		}
	}
	return k, nil
}

// algorithmsOf returns the signatures of a key: of an RSA key three (RFC 8332, section 3).
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return []string{keyType}
}

func explain(err error, key ssh.PublicKey) error {
	if err == nil {
		return nil
	}
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	known, ok := errors.AsType[*knownhosts.KeyError](err)
	switch {
	case !ok:
		return fmt.Errorf("host key %s is not trusted: %w", shown, err)
	case len(known.Want) == 0:
		return fmt.Errorf("host key %s is not in the known hosts file (compare it with the device's, then add it with ssh-keyscan)", shown)
	}
	return fmt.Errorf("host key has changed: the device shows %s, the known hosts file has another one (%s:%d)", shown, known.Want[0].Filename, known.Want[0].Line)
}

func (c *Config) algorithms() ssh.Config {
	var a ssh.Config
	a.SetDefaults()
	if c.LegacyAlgorithms {
		a.KeyExchanges = append(slices.Clone(a.KeyExchanges), ssh.InsecureKeyExchangeDH1SHA1)
		a.Ciphers = append(slices.Clone(a.Ciphers), "aes128-cbc", "3des-cbc")
	}
	return a
}
