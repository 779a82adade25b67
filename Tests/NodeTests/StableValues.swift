/// Hashes written down: they may change only with the hash function itself.
enum StableValues {
    static let leaf42: UInt64 = 3_524_661_472_332_918_004
    static let pair12: UInt64 = 4_905_029_802_399_410_135
}
