package ipsec

// Sizes of what surrounds the inner packet, in bytes (RFC 791, RFC 8200, RFC 768, RFC 9293).
const (
	headerIPv4 = 20
	headerIPv6 = 40
	headerUDP  = 8
	headerTCP  = 20
)

// Cipher is the pair of encryption and integrity algorithm of an ESP tunnel, with sizes in bytes.
type Cipher struct {
	Name string // as it is configured
	// IV is the size of the initialization vector, Block that of the cipher's block (ESP aligns to
	// at least 4: RFC 4303, section 2.4), ICV that of the integrity check value.
	IV, Block, ICV int
}

// ciphers lists the known pairs. AES-CBC: RFC 3602; 3DES: RFC 2451; NULL: RFC 2410; AES-GCM: RFC
// 4106; ChaCha20: RFC 7634; MD5-96: RFC 2403; SHA1-96: RFC 2404; SHA2: RFC 4868.
func ciphers() [19]Cipher {
	return [...]Cipher{
		{"aes-cbc-md5", 16, 16, 12},
		{"aes-cbc-sha1", 16, 16, 12},
		{"aes-cbc-sha256", 16, 16, 16},
		{"aes-cbc-sha384", 16, 16, 24},
		{"aes-cbc-sha512", 16, 16, 32},
		{"3des-md5", 8, 8, 12},
		{"3des-sha1", 8, 8, 12},
		{"3des-sha256", 8, 8, 16},
		{"3des-sha384", 8, 8, 24},
		{"3des-sha512", 8, 8, 32},
		{"aes-gcm-16", 8, 4, 16},
		{"aes-gcm-12", 8, 4, 12},
		{"aes-gcm-8", 8, 4, 8},
		{"chacha20-poly1305", 8, 4, 16},
		{"null-md5", 0, 4, 12},
		{"null-sha1", 0, 4, 12},
		{"null-sha256", 0, 4, 16},
		{"null-sha384", 0, 4, 24},
		{"null-sha512", 0, 4, 32},
	}
}

// CipherByName finds a cipher by its name.
func CipherByName(name string) (Cipher, bool) {
	for _, c := range ciphers() {
		if c.Name == name {
			return c, true
		}
	}
	return Cipher{}, false
}

// CipherNames lists the names that CipherByName knows.
func CipherNames() []string {
	all := ciphers()
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	return names
}

// TunnelMTU is the size of the largest inner packet that an ESP tunnel carries over a path without
// fragmenting the outer one; 0 where nothing fits. In bytes.
//
//	|<------------------------- path MTU -------------------------->|
//	| outer IP | UDP | SPI, seq | IV | inner packet | pad | 2 | ICV |
//	                                 |<- multiple of block -->|
//
// The 2 are pad length and next header (RFC 4303, section 2). UDP is there with NAT traversal only
// (RFC 3948, section 2.1).
func (c Cipher) TunnelMTU(pathMTU int, outerIPv6, udpEncap bool) int {
	room := pathMTU - headerIPv4 - HeaderLengthESP - c.IV - c.ICV
	if outerIPv6 {
		room -= headerIPv6 - headerIPv4
	}
	if udpEncap {
		room -= headerUDP
	}
	block := max(c.Block, 4)
	return max(room/block*block-2, 0)
}

// MSS is the TCP maximum segment size for packets of tunnelMTU bytes (RFC 9293, section 3.7.1); 0
// where nothing fits.
func MSS(tunnelMTU int, innerIPv6 bool) int {
	headers := headerIPv4 + headerTCP
	if innerIPv6 {
		headers = headerIPv6 + headerTCP
	}
	return max(tunnelMTU-headers, 0)
}
