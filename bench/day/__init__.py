"""A day of a camera that fails now and then: is each fault named as what it is, and none called drift?"""
