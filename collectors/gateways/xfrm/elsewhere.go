//go:build !linux

package xfrm

import (
	"errors"

	"ipsec_path_exporter/collectors/gateways"
)

// New reports that this operating system is not Linux.
func New(Config) (gateways.Source, error) {
	return nil, errors.New("reading the kernel's SAs needs Linux")
}
