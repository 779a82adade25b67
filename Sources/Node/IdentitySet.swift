/// Nodes by identity, for walks over shared structure. The first few lie in the set itself, so that walks over small
/// structures allocate nothing. The nodes must outlive it.
package struct IdentitySet {
    private var few = InlineArray<16, UInt>(repeating: 0)
    /// Open addressing, at most half full; empty as long as `few` has room. 0 = free.
    private var table: [UInt] = []
    package private(set) var count = 0

    package init() {}

    /// Whether `node` was not there before.
    package mutating func insert(_ node: Node) -> Bool {
        let key = UInt(bitPattern: Unmanaged.passUnretained(node).toOpaque())
        if table.isEmpty {
            for i in 0..<count where few[i] == key { return false }
            if count < few.count {
                few[count] = key
                count += 1
                return true
            }
            table = [UInt](repeating: 0, count: 64)
            for i in 0..<count { _ = place(few[i]) }
        } else if 2 * count >= table.count {
            let old = table
            table = [UInt](repeating: 0, count: 2 * old.count)
            for k in old where k != 0 { _ = place(k) }
        }
        if !place(key) { return false }
        count += 1
        return true
    }

    /// Puts an address into the table, which has room; false if it is there.
    private mutating func place(_ key: UInt) -> Bool {
        let mask = UInt(table.count - 1)
        // Addresses are multiples of 16; the product's upper half is well mixed.
        var at = (key &* 0x9E37_79B9_7F4A_7C15) >> 32 & mask
        while table[Int(at)] != 0 {
            if table[Int(at)] == key { return false }
            at = (at + 1) & mask
        }
        table[Int(at)] = key
        return true
    }
}
