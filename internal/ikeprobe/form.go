package ikeprobe

import "fmt"

// String gives the version as it is configured: "auto", "1" or "2".
func (v Version) String() string {
	switch v {
	case Auto:
		return "auto"
	case V1:
		return "1"
	case V2:
		return "2"
	}
	return "unknown"
}

// ParseVersion reads what String gives.
func ParseVersion(s string) (Version, error) {
	for _, v := range []Version{Auto, V1, V2} {
		if s == v.String() {
			return v, nil
		}
	}
	return Auto, fmt.Errorf("unknown IKE version %q (want auto, 1 or 2)", s)
}

// String gives the method as it is configured: "psk", "xauth" or "rsa".
func (a Auth) String() string {
	switch a {
	case PSK:
		return "psk"
	case XAUTH:
		return "xauth"
	case RSA:
		return "rsa"
	}
	return "unknown"
}

// ParseAuth reads what String gives.
func ParseAuth(s string) (Auth, error) {
	for _, a := range []Auth{PSK, XAUTH, RSA} {
		if s == a.String() {
			return a, nil
		}
	}
	return PSK, fmt.Errorf("unknown IKE authentication method %q (want psk, xauth or rsa)", s)
}

// String names the form: "v2-badke", "v2-major3", "v2-noprop", "v1-main" or "v1-minor".
func (f Form) String() string {
	switch f {
	case V2BadKE:
		return "v2-badke"
	case V2Major3:
		return "v2-major3"
	case V2NoProp:
		return "v2-noprop"
	case V1Main:
		return "v1-main"
	case V1Minor:
		return "v1-minor"
	}
	return "unknown"
}

// Version is the IKE version that the form belongs to.
func (f Form) Version() Version {
	if f == V1Main || f == V1Minor {
		return V1
	}
	return V2
}

// Ladder lists the forms to try for a version, in this order. One probe should be outstanding at a time.
func Ladder(v Version) []Form {
	switch v {
	case V1:
		return []Form{V1Main, V1Minor}
	case V2:
		return []Form{V2BadKE, V2Major3, V2NoProp}
	default:
		return []Form{V2BadKE, V2Major3, V2NoProp, V1Main, V1Minor}
	}
}
