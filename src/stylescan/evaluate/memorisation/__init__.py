"""The memorisation audit: are generated images copies of training images, and would this audit have seen it?"""
