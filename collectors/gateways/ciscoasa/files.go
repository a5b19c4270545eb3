package ciscoasa

import (
	"fmt"

	"ipsec_path_exporter/internal/devicelogin"
)

// A File is one that the configuration of a device names.
type File struct {
	// Key is the key of the configuration.
	Key, Path string
	// Secret means that only the exporter may read it.
	Secret bool
	// Check reads it and returns why it cannot be used. No error repeats a secret.
	Check func() error
}

// Files returns the files that the configuration names.
func (c *Config) Files() []File {
	var files []File
	add := func(key, path string, secret bool, check func() error) {
		if path != "" {
			files = append(files, File{key, path, secret, check})
		}
	}
	add("password_file", c.PasswordFile, true, func() error {
		_, err := c.password()
		return err
	})
	add("enable_password_file", c.EnablePasswordFile, true, func() error {
		_, err := devicelogin.Secret(c.EnablePasswordFile)
		return err
	})
	add("known_hosts_file", c.KnownHostsFile, false, func() error {
		keys, err := trust(c.KnownHostsFile, hostPort(c.Address, "22"))
		if err == nil && len(keys.algorithms) == 0 {
			err = fmt.Errorf("%s has no key of %s (compare the key of the device, then add it with ssh-keyscan)", c.KnownHostsFile, c.Address)
		}
		return err
	})
	add("ca_file", c.CAFile, false, func() error {
		_, err := devicelogin.TLS{CAFile: c.CAFile}.Config()
		return err
	})
	return files
}

// password reads the password. A login without one is an error here: a device counts it as refused.
func (c *Config) password() (string, error) {
	s, err := devicelogin.Secret(c.PasswordFile)
	if err == nil && s == "" {
		err = fmt.Errorf("%s %w", c.PasswordFile, devicelogin.ErrEmpty)
	}
	return s, err
}
